"""Chatkeep as a session of the OpenAI Agents SDK.

session = ChatkeepSession("trip", "sqlite:///chats.db", user="alice")
result = await Runner.run(agent, "Where shall we go?", session=session)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

try:
    from agents.memory import SessionSettings
except ImportError as error:
    raise ImportError(
        "the OpenAI Agents SDK is not installed; run: pip install 'chatkeep[agents]'", name="agents"
    ) from error

from chatkeep.adapters.openai_items import items_of, message_from_item
from chatkeep.adapters.shared import Handle, Shared
from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.errors import Invalid, NotFound
from chatkeep.domain.ids import check_id, new_id
from chatkeep.domain.limits import MAX_BATCH_MESSAGES, MAX_READ
from chatkeep.domain.messages import Message, NewMessage
from chatkeep.domain.pages import Page, SessionPosition
from chatkeep.domain.policies import PRESETS
from chatkeep.domain.sessions import Session
from chatkeep.keep import Chatkeep
from chatkeep.keep.chats import DEFAULT_APP, Chats

if TYPE_CHECKING:
    from agents.items import TResponseInputItem

T = TypeVar("T")

DEFAULT_USER = "local"
_ANY_QUESTION = "?"


class _Done:
    """What `close` returns: it may be awaited, and need not be."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class ChatkeepSession:
    """One conversation of one user, kept by Chatkeep; implements `agents.memory.Session`.

    Items come back equal as JSON. Up to 100 items (1 MiB) added in one call are stored all or nothing. Sessions of the
    same URL share one open store, in any number of event loops and threads; a cancelled change is over, one way or the
    other, when the cancellation arrives. An item that cannot be read back is left out, and counts for no limit.

    `session_id`: 1 to 256 bytes of UTF-8. `url`: as of `Chatkeep.open`. `retention`: `keep` (for ever), `agent` (the
    newest 200 messages in whole turns, gone after 7 days without use) or `platform`. `session_settings`: the `limit`
    that `get_items` uses by default. `context_tokens`: what `get_items` gives by default when there is no such limit:
    the newest turns in full, and before them extracts of the older ones, about so many tokens together (at least 256);
    None: all items. The store is opened by the first call, which raises Invalid, NotSupported or Unavailable when it
    cannot be.
    """

    def __init__(
        self,
        session_id: str,
        url: str,
        *,
        user: str = DEFAULT_USER,
        app: str = DEFAULT_APP,
        retention: str = "keep",
        session_settings: SessionSettings | dict[str, Any] | None = None,
        context_tokens: int | None = None,
    ) -> None:
        if retention not in PRESETS:
            raise Invalid(f"retention {retention!r} is none of {', '.join(PRESETS)}", field="retention")
        self.session_id = check_id(session_id, "session_id")
        self.session_settings: SessionSettings | None = SessionSettings().resolve(session_settings)
        self.user = check_id(user, "user")
        self.app = check_id(app, "app")
        self._context = None if context_tokens is None else _history_policy(context_tokens)
        self._prunes = PRESETS[retention].prunes
        self._store = Handle(url, retention)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the latest `limit` items, oldest first.

        None: as many as `session_settings` say, or else what fits `context_tokens`, or all. 0: none. Below 0: all. A
        session that does not exist is empty.
        """
        wanted = self.session_settings.limit if limit is None and self.session_settings else limit
        if wanted is None and self._context is not None:
            policy = self._context
            return await self._look(lambda chats: _fitting_items(chats, self.session_id, policy))
        most = None if wanted is None or wanted < 0 else wanted
        return await self._look(lambda chats: _newest_items(chats, self.session_id, most))

    async def add_items(self, items: list[TResponseInputItem], *, idempotency_key: str | None = None) -> None:
        """Store items behind the last one.

        A repeat with the same `idempotency_key` and items stores nothing. More than 100 items are stored 100 at a time.
        Raises TypeError for an item that JSON cannot hold, LimitExceeded, IdReused, Unavailable.
        """
        store = self._open()
        if not items:
            return
        key = new_id() if idempotency_key is None else check_id(idempotency_key, "idempotency_key")
        try:
            messages = [message_from_item(item) for item in items]
        except Invalid as error:
            raise TypeError(f"an item cannot be stored: {error}") from error
        await store.change(lambda keep: self._append(self._chats(keep), messages, key))

    async def _append(self, chats: Chats, messages: Sequence[NewMessage], key: str) -> None:
        for at in range(0, len(messages), MAX_BATCH_MESSAGES):
            batch = messages[at : at + MAX_BATCH_MESSAGES]
            part = key if len(messages) <= MAX_BATCH_MESSAGES else f"{key}/{at}"
            await chats.append(self.session_id, *batch, idempotency_key=part, create=True)
        if self._prunes:
            await chats.apply_retention(self.session_id)

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the latest item away and return it; None when there is none. Of several callers each gets another."""
        return await self._open().change(lambda keep: _pop(self._chats(keep), self.session_id))

    async def clear_session(self) -> None:
        """Remove all items for good."""
        await self._open().change(lambda keep: _clear(self._chats(keep), self.session_id))

    async def record(self) -> Session | None:
        """Return what Chatkeep knows of the session: title, times, metadata; None before the first item."""
        return await self._look(lambda chats: chats.find(self.session_id))

    @classmethod
    async def list_sessions(
        cls,
        url: str,
        *,
        user: str = DEFAULT_USER,
        app: str = DEFAULT_APP,
        limit: int = 50,
        after: SessionPosition | None = None,
    ) -> Page[Session, SessionPosition]:
        """Return up to `limit` (1–200) sessions of a user, pinned first, then newest activity first.

        `after` is the `next` of the page before.
        """
        handle = Handle(url, "keep")
        try:
            return await handle.get().look(lambda keep: keep.for_user(user, app=app).list(limit=limit, after=after))
        finally:
            handle.close()

    def close(self) -> Awaitable[None]:
        """Let go of the store; calls raise RuntimeError from now on. Done when it returns, awaited or not."""
        self._store.close()
        return _Done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chats(self, keep: Chatkeep) -> Chats:
        return keep.for_user(self.user, app=self.app)

    async def _look(self, begin: Callable[[Chats], Awaitable[T]]) -> T:
        return await self._open().look(lambda keep: begin(self._chats(keep)))

    def _open(self) -> Shared:
        if self._store.closed:
            raise RuntimeError(f"{type(self).__name__} is closed; make another")
        return self._store.get()


def _history_policy(tokens: int) -> ContextPolicy:
    # What is asked next is not known here, so nothing can bear on it.
    return ContextPolicy(tmax_tokens=tokens, tretained_tokens=tokens // 2, relevance="off")


async def _fitting_items(chats: Chats, session_id: str, policy: ContextPolicy) -> list[TResponseInputItem]:
    """Return what a model should see of the session before the next question, whatever that will be."""
    try:
        prompt = await chats.context(session_id, _ANY_QUESTION, policy=policy)
    except NotFound:
        return []
    found: list[Any] = [item for message in prompt.messages[:-1] for item in items_of(message.role, message.parts)]
    return found


async def _newest_items(chats: Chats, session_id: str, most: int | None) -> list[TResponseInputItem]:
    """Return the latest `most` items, oldest first, reading on behind those that hold none."""
    found: list[Any] = []
    before: int | None = None
    while most is None or len(found) < most:
        wanted = MAX_READ if most is None else min(most - len(found), MAX_READ)
        try:
            page = await chats.messages(session_id, last=wanted, before_seq=before)
        except NotFound:
            break
        for message in reversed(page):
            if isinstance(message, Message):
                found.extend(reversed(items_of(message.role, message.parts)))
        if len(page) < wanted:
            break
        before = page[0].seq
    return found[:most][::-1]


async def _pop(chats: Chats, session_id: str) -> TResponseInputItem | None:
    while True:
        try:
            message = await chats.pop(session_id)
        except NotFound:
            return None
        if message is None:
            return None
        items = items_of(message.role, message.parts)
        if items:
            return cast("TResponseInputItem", items[-1])


async def _clear(chats: Chats, session_id: str) -> None:
    try:
        await chats.clear(session_id)
    except NotFound:
        return
