"""Removing for good, in bounded steps: a purged session leaves a grave until the last of its rows is gone."""

from __future__ import annotations

from chatkeep.domain.pages import Receipt
from chatkeep.stores.checks import MAX_SEQ
from chatkeep.stores.postgres.engine import Connection, Engine

STEP_ROWS = 500


class Graves(Engine):
    """Where purged sessions lie until nothing of them is left."""

    async def _empty_grave(self, session_key: int) -> Receipt:
        """Remove what is left of a buried session, step by step, and return what it was."""
        receipt = Receipt({})
        while True:
            removed = await self._write(lambda db: remove_some(db, session_key, STEP_ROWS))
            if removed is None:
                return receipt
            receipt += removed


async def remove_some(db: Connection, session_key: int, most: int) -> Receipt | None:
    """Remove up to about `most` rows of a buried session; None when nothing is left of it."""
    if await db.row("lock_grave", session_key) is None:
        return None
    removed = {"messages": (await db.one("delete_messages", session_key, MAX_SEQ + 1, most))[0]}
    left = most - removed["messages"]
    if left > 0:
        removed["runs"], removed["events"] = await _remove_runs(db, session_key, left)
        left -= removed["runs"] + removed["events"]
    if left > 0:
        removed["keys"] = await db.run("delete_keys", session_key)
        removed["state"] = await db.run("delete_states", session_key)
        await db.run("remove_words", session_key, 0)
        await db.run("close_grave", session_key)
    return Receipt({kind: count for kind, count in removed.items() if count})


async def _remove_runs(db: Connection, session_key: int, most: int) -> tuple[int, int]:
    """Remove runs of a session, each after its events; return how many runs and events."""
    runs = events = 0
    for (run,) in await db.rows("runs_of_session", session_key, most):
        events += await db.run("delete_events", run, most - events)
        if events >= most:
            break
        await db.run("delete_run", run)
        runs += 1
    return runs, events
