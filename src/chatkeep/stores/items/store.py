"""The engine as a whole, on any tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.stores.items.keys import SCHEMA_KEY
from chatkeep.stores.items.log import ItemLog
from chatkeep.stores.items.maintenance import SCHEMA_STEPS, SCHEMA_VERSION, ItemMaintenance
from chatkeep.stores.items.states import ItemStates
from chatkeep.stores.items.tables import SESSIONS, WORK, key_of
from chatkeep.stores.records import scope_key
from chatkeep.stores.versions import check_schema


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
        check_schema(int((await self.schema())["version"]), SCHEMA_STEPS)

    async def _note_schema(self) -> None:
        """Note that the tables are those of this release, unless a newer one has been here. Raises NotSupported."""
        stored = int((await self.schema())["version"])
        if stored < SCHEMA_VERSION:
            await self._tables.put(WORK, SCHEMA_KEY, {"n": SCHEMA_VERSION})
        else:
            check_schema(stored, SCHEMA_STEPS)
