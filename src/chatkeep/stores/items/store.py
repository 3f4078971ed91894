"""The engine as a whole, on any tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from chatkeep.domain.errors import NotSupported
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.stores.items.log import ItemLog
from chatkeep.stores.items.maintenance import SCHEMA_VERSION, ItemMaintenance
from chatkeep.stores.items.states import ItemStates
from chatkeep.stores.items.tables import SESSIONS, key_of
from chatkeep.stores.records import scope_key


class ItemStore(ItemLog, ItemStates, ItemMaintenance):
    """The whole contract, but for the name of the engine and its end, by conditional writes of single items."""

    async def erase_scope(self, scope: Scope) -> Receipt:
        keys = [key_of(item) async for item in self._tables.query(SESSIONS, scope_key(scope), only=("pk", "sk"))]
        total = Receipt({})
        for key in keys:
            purge: Callable[[], Awaitable[Receipt | None]] = partial(self._purge_stored, scope, key.sk.decode())
            receipt = await self._until_won(key, purge)
            total += Receipt({}) if receipt is None else receipt
        return total

    async def ping(self) -> None:
        found = await self.schema()
        if found["version"] != str(SCHEMA_VERSION):
            raise NotSupported(f"the tables have schema {found['version']}, this release needs {SCHEMA_VERSION}")
