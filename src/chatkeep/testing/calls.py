"""Short forms of what the tests say again and again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from chatkeep.domain.messages import Message, Unreadable, user
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.runs import NewRun, Run, RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session
from chatkeep.ports.store import MAX_LIST_LAG_SECONDS, Appended, Log, Runs, Sessions

ALICE = Scope("acme", "support", "alice")
BOB = Scope("acme", "support", "bob")
LEASE = timedelta(seconds=15)
NEW = NewSession()
EVERYTHING = SessionFilter()
READ_LIMIT = 1_000

Value = TypeVar("Value")
_keys = count()


def digest(text: str) -> bytes:
    """Return what a caller computes from a body."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


async def say(
    store: Log,
    *texts: str,
    scope: Scope = ALICE,
    session: str = "s",
    key: str | None = None,
    create: NewSession | None = NEW,
    **options: Any,
) -> Appended:
    """Append user messages, to a new session if need be, under a key of their own unless one is given."""
    return await store.append(
        scope,
        session,
        [user(text) for text in texts],
        idempotency_key=f"key {next(_keys)}" if key is None else key,
        digest=digest("\0".join(texts)),
        create=create,
        **options,
    )


async def read_all(store: Log, *, scope: Scope = ALICE, session: str = "s", **options: Any) -> list[Message]:
    """Return up to 1,000 messages, all of which must be readable."""
    found = await store.read(scope, session, limit=READ_LIMIT, **options)
    unreadable = [entry for entry in found if isinstance(entry, Unreadable)]
    assert not unreadable
    return [entry for entry in found if isinstance(entry, Message)]


async def texts(store: Log, *, scope: Scope = ALICE, session: str = "s", **options: Any) -> list[str]:
    """Return the texts of up to 1,000 messages."""
    return [message.text for message in await read_all(store, scope=scope, session=session, **options)]


async def seqs(store: Log, *, scope: Scope = ALICE, session: str = "s", **options: Any) -> list[int]:
    """Return the seqs that a read gives, with a limit of 1,000 unless told otherwise."""
    found = await store.read(scope, session, **{"limit": READ_LIMIT, **options})
    return [entry.seq for entry in found]


async def found(store: Sessions, session: str = "s", *, scope: Scope = ALICE) -> Session:
    """Return a session that must be there, live or trashed."""
    session_found = await store.find_session(scope, session, include_trashed=True)
    assert session_found is not None
    return session_found


async def pages(
    store: Sessions, where: SessionFilter = EVERYTHING, *, scope: Scope = ALICE, limit: int = 200
) -> AsyncIterator[tuple[Session, ...]]:
    """Go through a list page by page."""
    after: SessionPosition | None = None
    while True:
        page = await store.list_sessions(scope, where, limit=limit, after=after)
        assert len(page.items) <= limit
        yield page.items
        if page.next is None:
            return
        assert page.next != after, "a list that does not advance"
        after = page.next


async def listed(
    store: Sessions, where: SessionFilter = EVERYTHING, *, scope: Scope = ALICE, limit: int = 200
) -> list[str]:
    """Return the ids of a whole list, in order."""
    return [session.id async for page in pages(store, where, scope=scope, limit=limit) for session in page]


async def eventually(look: Callable[[], Awaitable[Value]], expected: Callable[[Value], bool]) -> Value:
    """Look until what is seen is as expected, for as long as a list may lag; return what was seen last."""
    deadline = time.monotonic() + MAX_LIST_LAG_SECONDS
    while True:
        seen = await look()
        if expected(seen) or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(0.02)


async def soon_listed(store: Sessions, expected: list[str], *, scope: Scope = ALICE) -> list[str]:
    """Return the default list once it is `expected`, or as it is after the longest lag."""
    return await eventually(lambda: listed(store, scope=scope), lambda seen: seen == expected)


def new_run(run_id: str = "r", request: str = "a question", claimant: str = "me") -> NewRun:
    """Return a run to claim."""
    return NewRun(id=run_id, request=request, digest=digest(request), claimant=claimant)


async def claim(
    store: Runs, run_id: str = "r", *, session: str = "s", scope: Scope = ALICE, queue: bool = False
) -> Run:
    """Claim a run for `LEASE`."""
    return (await store.claim_run(scope, session, new_run(run_id), lease=LEASE, queue=queue)).run


def events(first: int, last: int) -> list[RunEvent]:
    """Return events of these numbers."""
    return [RunEvent(n, f"event {n}") for n in range(first, last + 1)]
