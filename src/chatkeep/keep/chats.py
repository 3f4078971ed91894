"""The sessions of one user."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from chatkeep.bootstrap import Keeping
from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.context import Prompt
from chatkeep.domain.messages import (
    Content,
    Feedback,
    JsonValue,
    Message,
    NewMessage,
    Part,
    Role,
    Source,
    Text,
    Unreadable,
)
from chatkeep.domain.pages import Hit, HitPosition, Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionPatch, SessionState, SettableState
from chatkeep.keep.opened import Opened
from chatkeep.services.context import Question
from chatkeep.services.mine import MinePosition
from chatkeep.services.transfer import ImportProgress, ImportReport

DEFAULT_TENANT = "default"
DEFAULT_APP = "default"


class Chats:
    """The sessions of one user in one app. Made by `Chatkeep.for_user`; costs nothing to make.

    Errors are those of `chatkeep.errors`. A session of somebody else is NotFound, as a missing one is.
    """

    def __init__(self, opened: Opened, scope: Scope) -> None:
        self._opened = opened
        self.scope = scope

    @property
    def _kept(self) -> Keeping:
        return self._opened.kept

    async def create(
        self,
        session_id: str | None = None,
        *,
        title: str = "",
        state: SettableState = "active",
        metadata: dict[str, JsonValue] | None = None,
    ) -> Session:
        """Create a session; without an id it gets one of its own. Raises SessionExists, Closed, Invalid."""
        return await self._kept.sessions.create(self.scope, session_id, title=title, state=state, metadata=metadata)

    async def ensure(
        self, session_id: str, *, title: str = "", metadata: dict[str, JsonValue] | None = None
    ) -> Session:
        """Return the session of that id, created now if it is missing; title and metadata are those of a new one."""
        return (await self._kept.sessions.ensure(self.scope, session_id, title=title, metadata=metadata))[0]

    async def get(self, session_id: str) -> Session:
        """Return the session. Raises NotFound."""
        return await self._kept.sessions.get(self.scope, session_id)

    async def find(self, session_id: str) -> Session | None:
        """Return the session, or None."""
        return await self._kept.sessions.find(self.scope, session_id)

    async def list(
        self,
        *,
        limit: int = 50,
        after: SessionPosition | None = None,
        state: SessionState | None = None,
        include_archived: bool = False,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> Page[Session, SessionPosition]:
        """Return up to `limit` (1–200) sessions, pinned first, then newest activity first.

        `after` is the `next` of the page before. A `state` shows only that one, `trashed` too.
        """
        where = SessionFilter(state=state, include_archived=include_archived, metadata=tuple((metadata or {}).items()))
        return await self._kept.sessions.list(self.scope, where, limit=limit, after=after)

    async def update(
        self,
        session_id: str,
        *,
        title: str | None = None,
        state: SettableState | None = None,
        metadata: dict[str, JsonValue] | None = None,
        expected_revision: int | None = None,
    ) -> Session:
        """Change what is given: title, state (`pinned`, `archived` …), metadata (the whole object).

        Raises NotFound, Closed, RevisionConflict, Invalid.
        """
        patch = SessionPatch(title=title, state=state, metadata=metadata)
        return await self._kept.sessions.update(self.scope, session_id, patch, expected_revision=expected_revision)

    async def delete(self, session_id: str) -> Session:
        """Put the session into the trash. Raises NotFound."""
        return await self._kept.sessions.delete(self.scope, session_id)

    async def restore(self, session_id: str) -> Session:
        """Take the session out of the trash. Raises NotFound."""
        return await self._kept.sessions.restore(self.scope, session_id)

    async def purge(self, session_id: str) -> Receipt:
        """Remove the session for good; return what was removed. Raises NotFound."""
        return await self._kept.sessions.purge(self.scope, session_id)

    async def erase(self) -> Receipt:
        """Remove everything of this user in this app for good; return what was removed."""
        return await self._kept.sessions.erase(self.scope)

    async def append(
        self,
        session_id: str,
        *messages: NewMessage,
        idempotency_key: str | None = None,
        expected_last_seq: int | None = None,
        parent_seq: int | None = None,
        create: bool = False,
    ) -> Sequence[Message | Unreadable]:
        """Store 1 to 100 messages, all or nothing, and return them with their seqs.

        A repeat with the same `idempotency_key` stores nothing and returns the first result. `create` makes the session
        if it is missing. `parent_seq` begins a branch behind that message.
        Raises NotFound, Closed, IdReused, SeqConflict, Invalid, LimitExceeded.
        """
        stored = await self._kept.history.append(
            self.scope,
            session_id,
            messages,
            idempotency_key=idempotency_key,
            expected_last_seq=expected_last_seq,
            parent_seq=parent_seq,
            create=create,
        )
        return stored.messages

    async def append_turn(
        self,
        session_id: str,
        question: str | Part,
        answer: str | Part,
        *,
        sources: Iterable[Source] = (),
        idempotency_key: str | None = None,
        create: bool = False,
    ) -> Sequence[Message | Unreadable]:
        """Store a question and its answer as one; as `append`."""
        said = NewMessage("user", Content(parts=(_part(question),)))
        answered = NewMessage("assistant", Content(parts=(_part(answer),), sources=tuple(sources)))
        return await self.append(session_id, said, answered, idempotency_key=idempotency_key, create=create)

    async def messages(
        self,
        session_id: str,
        *,
        last: int | None = None,
        after_seq: int = 0,
        before_seq: int | None = None,
        path: Literal["active", "all"] = "active",
    ) -> Sequence[Message | Unreadable]:
        """Return messages in ascending order: the `last` ones (1–1,000), or all of them.

        `after_seq` and `before_seq` are exclusive; `path="all"` shows every branch. A row that cannot be decoded is an
        Unreadable in its place. Raises NotFound.
        """
        if last is not None:
            newest = await self._kept.history.read(
                self.scope, session_id, after_seq=after_seq, before_seq=before_seq, limit=last, path=path
            )
            return newest[::-1]
        found: list[Message | Unreadable] = []
        while True:
            page = await self._kept.history.read(
                self.scope,
                session_id,
                after_seq=found[-1].seq if found else after_seq,
                before_seq=before_seq,
                limit=1_000,
                newest_first=False,
                path=path,
            )
            found.extend(page)
            if len(page) < 1_000:  # noqa: PLR2004 -- a short page is the last one
                return found

    async def mine(
        self, *, limit: int = 50, after: MinePosition | None = None, role: Role | None = None
    ) -> Page[tuple[Session, Message], MinePosition]:
        """Return up to `limit` (1–200) messages of all sessions, newest first; `role` shows only those of one role.

        `after` is the `next` of the page before.
        """
        return await self._kept.mine.messages(self.scope, limit=limit, after=after, role=role)

    async def message(self, session_id: str, seq: int) -> Message | Unreadable:
        """Return one message, of any branch. Raises NotFound."""
        return await self._kept.history.get(self.scope, session_id, seq)

    async def pop(self, session_id: str) -> Message | None:
        """Take the last message off the active path and return it; None when there is none. Raises NotFound."""
        return await self._kept.history.pop(self.scope, session_id)

    async def pop_turn(self, session_id: str) -> Sequence[Message]:
        """Take the last user message and all behind it off the active path and return them. Raises NotFound."""
        return await self._kept.history.pop_turn(self.scope, session_id)

    async def clear(self, session_id: str) -> Session:
        """Remove all messages. Raises NotFound."""
        return await self._kept.history.clear(self.scope, session_id)

    async def apply_retention(self, session_id: str) -> int:
        """Prune the session by the policy of this Chatkeep, and return how many messages went. Raises NotFound.

        A server does this by itself, in the background; without one it is up to the caller.
        """
        session = await self._kept.sessions.get(self.scope, session_id)
        return await self._kept.retention.apply(self.scope, session)

    async def redact(self, session_id: str, seq: int) -> Message:
        """Remove the content of one message, keeping its place. Raises NotFound."""
        return await self._kept.history.redact(self.scope, session_id, seq)

    async def rate(
        self, session_id: str, seq: int, rating: Literal["up", "down"] | None, comment: str | None = None
    ) -> Message:
        """Set the feedback of one message; without rating and comment, remove it. Raises NotFound."""
        feedback = None if rating is None and comment is None else Feedback(rating, comment)
        return await self._kept.history.rate(self.scope, session_id, seq, feedback)

    async def select(self, session_id: str, seq: int, *, whole_branch: bool = False) -> Session:
        """Let the active path end at `seq`, or, with `whole_branch`, at the newest message that follows on it.

        Raises NotFound, SeqConflict.
        """
        return await self._kept.history.select(self.scope, session_id, seq, whole_branch=whole_branch)

    async def fork(self, session_id: str, *, at_seq: int | None = None, title: str | None = None) -> Session:
        """Copy the active path, up to `at_seq`, into a new session. Raises NotFound, SeqConflict."""
        return await self._kept.fork.fork(self.scope, session_id, at_seq=at_seq, title=title)

    async def context(
        self,
        session_id: str,
        question: str | None = None,
        *,
        budget_tokens: int | None = None,
        system: str = "",
        policy: ContextPolicy | None = None,
    ) -> Prompt:
        """Return what a model should see of the session, and why, to answer `question`, or the newest message.

        `prompt.messages` are roles and parts in the model's order, `prompt.report` explains them. `budget_tokens`
        bounds them all; `policy` says how they are chosen. Summaries that the prompt needed are kept, so that the next
        one begins like it. Raises NotFound, ContextOverflow, Invalid.
        """
        chosen = policy or self._kept.context.policy
        if budget_tokens is not None:
            chosen = replace(chosen, tmax_tokens=budget_tokens)
        asked = Question(text=question, system=(system,) if system else ())
        return (await self._kept.context.prepare(self.scope, session_id, asked, policy=chosen)).prompt

    async def search(self, query: str, *, limit: int = 20, after: HitPosition | None = None) -> Page[Hit, HitPosition]:
        """Return titles and messages that hold every word of `query`, newest first. Raises Invalid."""
        return await self._kept.search.search(self.scope, query, limit=limit, after=after)

    def export(self, session_ids: Sequence[str] | None = None) -> AsyncGenerator[str, None]:
        """Yield sessions, all of them by default, as JSON Lines, without line ends. Raises NotFound."""
        return self._kept.transfer.export(self.scope, session_ids)

    async def import_lines(
        self,
        lines: Iterable[str] | AsyncIterator[str],
        *,
        dry_run: bool = False,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportReport:
        """Store what `export` wrote, once: a second import changes nothing. Faults are in the report."""
        return await self._kept.transfer.import_lines(self.scope, lines, dry_run=dry_run, progress=progress)


def _part(said: str | Part) -> Part:
    return Text(said) if isinstance(said, str) else said
