"""Whole sessions, however long."""

from __future__ import annotations

from chatkeep.domain.messages import Message
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import Log
from chatkeep.testing.calls import ALICE, read_all


async def whole(store: Log, session: str = "s", *, scope: Scope = ALICE) -> list[Message]:
    """Return all messages of the active path, page by page."""
    found: list[Message] = []
    while page := await read_all(store, scope=scope, session=session, after_seq=found[-1].seq if found else 0):
        found += page
    return found
