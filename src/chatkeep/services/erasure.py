"""Taking messages away, with everything that was derived from them."""

from __future__ import annotations

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionPatch
from chatkeep.domain.summaries import above, without
from chatkeep.domain.titles import auto_title
from chatkeep.ports.store import Store
from chatkeep.services.lines import TurnLines
from chatkeep.services.retrying import retried
from chatkeep.services.summarising import SummaryShelf
from chatkeep.services.vectors import VectorShelf

_FIRST_TURN = 2


class Erasure:
    """Removes summaries, lines and vectors of messages before the messages, so that after a crash a repeat does all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._summaries = SummaryShelf(store)
        self._lines = TurnLines(store)
        self._vectors = VectorShelf(store)

    async def redact(self, scope: Scope, session_id: str, entry: Message | Unreadable) -> Message:
        """Remove the content of a message, keeping its place.

        The events of the run that wrote it go as well, and a title that was made from it but not by the user. Raises
        NotFound, Closed, StoreError, and Conflict while that run is still writing.
        """
        seqs = [entry.seq]
        if isinstance(entry, Message):
            seqs.append(entry.parent_seq)
            run_id = entry.content.run_id
            if run_id is not None and await retried(lambda: self._store.find_run(scope, run_id)) is not None:
                await retried(lambda: self._store.drop_events(scope, run_id))
            await self._forget_title(scope, session_id, entry)
        # Before the row is blank, so that nobody who has still read it can publish what it said.
        await self._summaries.change(scope, session_id, lambda summaries: without(summaries, entry.seq))
        await self._lines.forget(scope, session_id, *seqs)
        await self._vectors.forget(scope, session_id, entry.seq, entry.seq)
        return await retried(lambda: self._store.redact(scope, session_id, entry.seq))

    async def _forget_title(self, scope: Scope, session_id: str, entry: Message) -> None:
        """Remove a title that was made from the message: the automatic one of its words, or a model's."""
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None or session.title_source == "user" or not session.title:
            return
        if session.title_source == "auto":
            told = session.title == auto_title(entry.text)
        else:
            first_turn = await retried(lambda: self._store.read(scope, session_id, limit=_FIRST_TURN))
            told = entry.seq in [first.seq for first in first_turn]
        if told:
            patch = SessionPatch(title="", title_source="auto")
            await retried(lambda: self._store.update_session(scope, session_id, patch))

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        """Remove every message below `before_seq`. Raises NotFound, Closed, StoreError."""
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None:
            raise NotFound("session", session_id)
        if session.first_seq < before_seq:
            await self._vectors.forget(scope, session_id, session.first_seq, before_seq - 1)
        pruned = await retried(lambda: self._store.prune(scope, session_id, before_seq=before_seq))
        if session.first_seq < pruned.first_seq:  # once more, for one that was storing them meanwhile
            await self._vectors.forget(scope, session_id, session.first_seq, pruned.first_seq - 1)
        await self._lines.forget_below(scope, session_id, pruned.first_seq)
        await self._summaries.change(scope, session_id, lambda summaries: above(summaries, pruned.first_seq))
        return pruned
