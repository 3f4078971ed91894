"""Removing for good, in bounded steps: a purged session leaves a grave until the last of its rows is gone."""

from __future__ import annotations

from chatkeep.domain.pages import Receipt
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.indexing import unindex, unindex_title
from chatkeep.stores.sqlite.records import MAX_STORED_SEQ, SEQ_BITS, Stored, message_key
from chatkeep.stores.sqlite.transaction import Write

STEP_ROWS = 500
_FEW = 16
"""So many search entries are removed without a trace at once; more of them leave with the merge in `scrub_search`."""

SCRUB = "search_scrub"


def bury(write: Write, stored: Stored) -> None:
    """Remove the record: from here on nothing of the session is found. The rest lies in its grave."""
    db = write.db
    if write.search:
        unindex_title(db, stored)
    db.run("delete_session", (stored.key,))
    db.run("dig_grave", (stored.key, stored.scope, stored.indexed_seq))
    write.touch(stored.scope)
    write.wipe()


def remove_some(write: Write, session_key: int, most: int) -> Receipt | None:
    """Remove up to about `most` rows of a buried session; None when nothing is left of it."""
    db = write.db
    grave = db.row("find_grave", (session_key,))
    if grave is None:
        return None
    _, scope, indexed_seq = grave
    removed = {"messages": remove_messages(write, scope, session_key, indexed_seq, MAX_STORED_SEQ, most)[0]}
    left = most - removed["messages"]
    if left > 0:
        removed["runs"], removed["events"] = _remove_runs(db, session_key, left)
        left -= removed["runs"] + removed["events"]
    if left > 0:
        removed["keys"] = _count(db, "delete_keys", session_key)
        removed["state"] = _count(db, "delete_states", session_key)
        db.run("close_grave", (session_key,))
    write.wipe()
    return Receipt({kind: count for kind, count in removed.items() if count})


def _count(db: Database, name: str, session_key: int) -> int:
    db.run(name, (session_key,))
    return db.changes()


def remove_messages(
    write: Write, scope: int, session_key: int, indexed_seq: int, last_seq: int, most: int
) -> tuple[int, int]:
    """Remove the first `most` messages of a session up to `last_seq`; return how many, and the last one of them."""
    db = write.db
    rows = db.rows("bodies_between", (message_key(session_key, 1), message_key(session_key, last_seq), most))
    if not rows:
        return 0, last_seq
    if write.search:
        _unindex(write, scope, indexed_seq, rows)
    db.run("delete_messages", (rows[0][0], rows[-1][0]))
    write.wipe()
    return len(rows), last_seq if len(rows) < most else rows[-1][0] & MAX_STORED_SEQ


def _unindex(write: Write, scope: int, indexed_seq: int, rows: list[tuple[int, bytes]]) -> None:
    db = write.db
    if len(rows) <= _FEW:
        unindex(db, scope, indexed_seq, rows)
        return
    db.run("remove_in_bulk")
    unindex(db, scope, indexed_seq, rows)
    db.run("keep_search_clean")
    db.run("set_meta", (SCRUB, "due"))


def _remove_runs(db: Database, session_key: int, most: int) -> tuple[int, int]:
    """Remove runs of a session, each after its events; return how many runs and events."""
    runs = events = 0
    for (run,) in db.rows("runs_of_session", (session_key, most)):
        events += remove_events(db, run, most - events)
        if events >= most:
            break
        db.run("delete_request", (run,))
        db.run("delete_run", (run,))
        runs += 1
    return runs, events


def remove_events(db: Database, run: int, most: int) -> int:
    """Remove the first `most` events of a run; return how many."""
    db.run("delete_events", (run << SEQ_BITS, run << SEQ_BITS | MAX_STORED_SEQ, most))
    return db.changes()


def scrub_search(write: Write) -> bool:
    """Merge a piece of the search index if removed entries have left bytes in it; return whether there was any."""
    db = write.db
    state = db.row("get_meta", (SCRUB,))
    if not write.search or state is None or state[0] == "done":
        return False
    before = db.connection.total_changes()
    db.run("begin_search_merge" if state[0] == "due" else "continue_search_merge")
    finished = db.connection.total_changes() - before < 2  # noqa: PLR2004 -- so FTS5 says that a merge had no work
    db.run("set_meta", (SCRUB, "done" if finished else "merging"))
    if finished:
        write.wipe()
    return True
