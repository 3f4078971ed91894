"""Messages: append, read, take back, redact."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid, NotFound, RevisionConflict, SeqConflict
from chatkeep.domain.ids import check_id, new_key
from chatkeep.domain.limits import MAX_COMMENT_CHARS, MAX_READ, check_limit, check_size, check_text
from chatkeep.domain.messages import Feedback, Message, NewMessage, Text, Unreadable
from chatkeep.domain.paths import newest_leaf
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch
from chatkeep.domain.titles import auto_title
from chatkeep.ports.store import Appended, Store
from chatkeep.services.digests import digest_of_messages
from chatkeep.services.erasure import Erasure
from chatkeep.services.lines import TurnLines, lines_of
from chatkeep.services.retrying import retried

Entry = Message | Unreadable

_POP_ATTEMPTS = 20
_POP_WAIT_SECONDS = 0.001
_POP_LONGEST_WAIT_SECONDS = 0.2
_POP_READ = 20


@dataclass(frozen=True, slots=True)
class Stored:
    """What an append stored, in order of seq, and whether an earlier attempt had stored it already.

    A repeat returns what is stored now: redacted messages are blank, pruned ones are left out.
    """

    messages: tuple[Entry, ...]
    session: Session
    repeated: bool


def _title_from(messages: Sequence[NewMessage]) -> str | None:
    for message in messages:
        if message.role == "user":
            return auto_title(" ".join(part.text for part in message.content.parts if isinstance(part, Text)))
    return None


class HistoryService:
    """The log of one session after the other. Temporary errors of the store are retried with the same key."""

    def __init__(self, store: Store, policies: RetentionPolicies) -> None:
        self._store = store
        self._policies = policies
        self._erasure = Erasure(store)
        self._lines = TurnLines(store)

    async def append(
        self,
        scope: Scope,
        session_id: str,
        messages: Sequence[NewMessage],
        *,
        idempotency_key: str | None = None,
        expected_last_seq: int | None = None,
        parent_seq: int | None = None,
        create: bool = False,
        incarnation: str | None = None,
    ) -> Stored:
        """Store 1 to 100 messages as one: all or nothing, and only once for one `idempotency_key`.

        `parent_seq` begins a new branch behind that message (0: a new first message); None continues the active path.
        `create` makes the session if it is missing; `incarnation` refuses another one of the same id. Raises
        NotFound, Closed, IdReused, SeqConflict, Invalid, LimitExceeded.
        """
        check_id(session_id, "session id")
        key = new_key() if idempotency_key is None else check_id(idempotency_key, "idempotency key")
        check_messages(messages)
        digest = digest_of_messages(messages, parent_seq=parent_seq)
        ttl = self._policies.of(scope.app).idle_ttl
        done = await retried(
            lambda: self._store.append(
                scope,
                session_id,
                messages,
                idempotency_key=key,
                digest=digest,
                expected_last_seq=expected_last_seq,
                parent_seq=parent_seq,
                create=NewSession(idle_ttl=ttl) if create else None,
                idle_ttl=ttl,
                title=_title_from(messages),
                incarnation=incarnation,
            )
        )
        if done.repeated:
            return Stored(await self._stored(scope, session_id, done), done.session, repeated=True)
        return Stored(done.messages, done.session, repeated=False)

    async def _stored(self, scope: Scope, session_id: str, done: Appended) -> tuple[Entry, ...]:
        return tuple(
            await retried(
                lambda: self._store.read(
                    scope,
                    session_id,
                    after_seq=done.first_seq - 1,
                    before_seq=done.last_seq + 1,
                    limit=done.last_seq - done.first_seq + 1,
                    path="all",
                )
            )
        )

    async def read(
        self,
        scope: Scope,
        session_id: str,
        *,
        after_seq: int = 0,
        before_seq: int | None = None,
        limit: int = 50,
        newest_first: bool = True,
        path: Literal["active", "all"] = "active",
    ) -> Sequence[Entry]:
        """Return messages as `Log.read` does; by default the newest ones, newest first."""
        check_limit(limit, MAX_READ)
        return await retried(
            lambda: self._store.read(
                scope,
                session_id,
                after_seq=after_seq,
                before_seq=before_seq,
                limit=limit,
                newest_first=newest_first,
                path=path,
            )
        )

    async def written_lines(self, scope: Scope, session_id: str) -> Mapping[int, str]:
        """Return the lines that a model wrote about turns, by the question's seq, for `lines_of`. Raises NotFound."""
        return await self._lines.get(scope, session_id)

    async def get(self, scope: Scope, session_id: str, seq: int) -> Entry:
        """Return one message, of any branch. Raises NotFound."""
        found = await self.read(
            scope, session_id, after_seq=seq - 1, before_seq=seq + 1, limit=1, newest_first=False, path="all"
        )
        if not found:
            raise NotFound("message", seq)
        return found[0]

    async def get_with_line(self, scope: Scope, session_id: str, seq: int) -> tuple[Entry, Mapping[int, str]]:
        """Return one message, of any branch, and the line about its turn if it is a question. Raises NotFound."""
        entries, written = await asyncio.gather(
            self.read(
                scope, session_id, after_seq=seq - 1, before_seq=seq + 2, limit=2, newest_first=False, path="all"
            ),
            self.written_lines(scope, session_id),
        )
        if not entries or entries[0].seq != seq:
            raise NotFound("message", seq)
        return entries[0], lines_of(entries, written)

    async def select(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        whole_branch: bool = False,
    ) -> Session:
        """Let the active path end at `seq`, or, with `whole_branch`, at the newest message that follows on it.

        Raises NotFound, SeqConflict.
        """
        end = seq
        if whole_branch:
            session = await retried(lambda: self._store.find_session(scope, session_id))
            if session is None:
                raise NotFound("session", session_id)
            end = newest_leaf(seq, session.jumps, first_seq=session.first_seq, last_seq=session.last_seq)
        return await retried(
            lambda: self._store.select_head(scope, session_id, end, expected_last_seq=expected_last_seq)
        )

    async def pop(self, scope: Scope, session_id: str) -> Message | None:
        """Take the last message off the active path and return it; None when the path is empty.

        The message stays in the log, on a branch of its own. Of several callers at once each gets another message.
        Unreadable messages at the end are passed over. A Timeout is not retried: whether it happened is unknown.
        """
        taken = await self._pop(scope, session_id, whole_turn=False)
        return taken[-1] if taken else None

    async def pop_turn(self, scope: Scope, session_id: str) -> Sequence[Message]:
        """Take the newest user message and all behind it off the active path and return them, ascending."""
        return await self._pop(scope, session_id, whole_turn=True)

    async def _pop(self, scope: Scope, session_id: str, *, whole_turn: bool) -> list[Message]:
        for attempt in range(_POP_ATTEMPTS):
            session = await retried(lambda: self._store.find_session(scope, session_id))
            if session is None:
                raise NotFound("session", session_id)
            taken = await self._newest(scope, session_id, whole_turn=whole_turn)
            if not taken:
                return []
            parent = taken[-1].parent_seq
            below = parent if parent >= session.first_seq else 0
            try:
                await self._store.select_head(scope, session_id, below, expected_head_seq=session.head_seq)
            except SeqConflict:
                longest = min(_POP_WAIT_SECONDS * 2**attempt, _POP_LONGEST_WAIT_SECONDS)
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 -- parts rivals, guards nothing
                continue
            return taken[::-1]
        raise SeqConflict("the session is changing too fast to take a message back", last_seq=0)

    async def _newest(self, scope: Scope, session_id: str, *, whole_turn: bool) -> list[Message]:
        """Return the last message of the path, or with all others down to the newest one of the user, newest first."""
        taken: list[Message] = []
        before: int | None = None
        while page := await self.read(scope, session_id, before_seq=before, limit=_POP_READ):
            for entry in page:
                if isinstance(entry, Message):
                    taken.append(entry)
                    if not whole_turn or entry.role == "user":
                        return taken
            before = page[-1].seq
        return taken

    async def clear(self, scope: Scope, session_id: str) -> Session:
        """Remove every message that is stored now; seqs go on from where they were. Raises NotFound.

        A title that was made from them, and not by the user, goes as well.
        """
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None:
            raise NotFound("session", session_id)
        pruned = await self._erasure.prune(scope, session_id, before_seq=session.last_seq + 1)
        if not pruned.title or pruned.title_source == "user":
            return pruned
        patch = SessionPatch(title="", title_source="auto")
        try:
            return await retried(
                lambda: self._store.update_session(scope, session_id, patch, expected_revision=pruned.revision)
            )
        except RevisionConflict:  # somebody has just given it another title
            return pruned

    async def rate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        """Set or remove the reader's judgement of a message. Raises NotFound, Invalid."""
        if feedback is not None:
            if feedback.rating not in (None, "up", "down"):
                raise Invalid("rating is 'up', 'down' or null", field="rating")
            if feedback.comment is not None:
                check_text(feedback.comment, "comment")
                check_size("comment", len(feedback.comment), MAX_COMMENT_CHARS, "characters")
        return await retried(lambda: self._store.annotate(scope, session_id, seq, feedback))

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        """Remove the content of one message, keeping its place.

        The events of the run that wrote it go as well, the summaries that tell of it, its vector, and a title that was
        made from it but not by the user.

        Raises NotFound, and Conflict while that run is still writing.
        """
        return await self._erasure.redact(scope, session_id, await self.get(scope, session_id, seq))
