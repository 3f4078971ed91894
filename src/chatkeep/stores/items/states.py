"""Small values beside a session, each an item of its own."""

from __future__ import annotations

from collections.abc import Sequence

from chatkeep.domain.errors import NotFound, RevisionConflict
from chatkeep.domain.ids import check_id
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import State
from chatkeep.stores.checks import check_state
from chatkeep.stores.items.handle import Handle
from chatkeep.stores.items.heads import Head
from chatkeep.stores.items.keys import extras_key, state_key
from chatkeep.stores.items.tables import ABSENT, LOG, Condition, bytes_of, int_of
from chatkeep.stores.races import Raced


class ItemStates(Handle):
    """States. A write that is overtaken by trash or purge is seen by nobody, since both hide the session's states."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        check_id(key, "key")
        return await self._state(await self._live(scope, session_id), key)

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        head = await self._live(scope, session_id)
        found = self._tables.query(LOG, extras_key(head.incarnation), low=b"s", only=("pk", "sk"))
        return sorted([bytes_of(item, "sk")[1:].decode() async for item in found])

    async def _state(self, head: Head, key: str) -> State | None:
        item = await self._tables.get(LOG, state_key(head.incarnation, key))
        return None if item is None else State(bytes_of(item, "val"), int_of(item, "ver"))

    async def put_state(
        self,
        scope: Scope,
        session_id: str,
        key: str,
        value: bytes,
        *,
        expected_version: int,
        incarnation: str | None = None,
    ) -> State:
        check_state(key, value)
        head = await self._writable(scope, session_id)
        if incarnation not in (None, head.incarnation):
            raise NotFound("session", session_id)
        written = State(bytes(value), expected_version + 1)
        condition = Condition(equal={"ver": expected_version}) if expected_version else ABSENT
        place = state_key(head.incarnation, key)
        try:
            await self._tables.put(LOG, place, {"ver": written.version, "val": written.value}, condition)
        except Raced as error:
            stored = await self._state(head, key)
            current = 0 if stored is None else stored.version
            raise RevisionConflict(expected=expected_version, current=current) from error
        return written
