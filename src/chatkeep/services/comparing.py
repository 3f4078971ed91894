"""Whether a session and its copy are the same for every reader."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from functools import partial

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, dump
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried

MARK = "chatkeep.copied"
"""The key of the state by which a copied session is known; its value is the incarnation of the source."""

_READ = 100


def facts(session: Session) -> tuple[object, ...]:
    """Return what of a record must be the same in a copy."""
    return (
        session.title,
        session.state,
        session.created_at_ms,
        session.modified_at_ms,
        session.idle_ttl_ms,
        session.first_seq,
        session.last_seq,
        session.head_seq,
        session.jumps_json,
        session.metadata_json,
        session.hidden,
    )


async def fingerprint(store: Store, scope: Scope, session: Session) -> tuple[bytes, int]:
    """Return a hash of all messages of a session and what is kept beside it, and how many messages these are."""
    digest = hashlib.sha256()
    count = 0
    async for entry in entries(store, scope, session):
        count += 1
        if isinstance(entry, Unreadable):
            digest.update(f"{entry.seq} unreadable\n".encode())
            continue
        head = [*entry[:2], entry.uid.hex(), *entry[3:8], len(entry.body)]
        digest.update(dump(head).encode())
        digest.update(entry.body)
    try:
        for key in await retried(partial(store.state_keys, scope, session.id)):
            state = None if key == MARK else await retried(partial(store.get_state, scope, session.id, key))
            if state is not None:
                digest.update(dump([key, len(state.value)]).encode())
                digest.update(state.value)
    except NotFound:
        digest.update(b"gone")
    return digest.digest(), count


async def entries(
    store: Store, scope: Scope, session: Session, *, after_seq: int = 0
) -> AsyncGenerator[Message | Unreadable, None]:
    """Yield the messages of all branches behind `after_seq`, up to the last one of `session`, ascending."""
    after = max(after_seq, session.first_seq - 1)
    while after < session.last_seq:
        try:
            page = await retried(
                partial(
                    store.read,
                    scope,
                    session.id,
                    after_seq=after,
                    before_seq=session.last_seq + 1,
                    limit=_READ,
                    path="all",
                )
            )
        except NotFound:
            return
        if not page:
            return
        for entry in page:
            yield entry
        after = page[-1].seq
