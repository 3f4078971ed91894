"""The library for code without `async`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from chatkeep.domain.errors import Unavailable
from chatkeep.keep.chats import DEFAULT_APP, DEFAULT_TENANT, Chats
from chatkeep.keep.loop import LoopThread
from chatkeep.services.retention import CleanupReport

if TYPE_CHECKING:
    from chatkeep.keep.chatkeep import Chatkeep

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Chats, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingChats, P], T]:
    @functools.wraps(method)
    def call(self: BlockingChats, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(lambda: method(self._chats, *args, **kwargs))

    return call


class BlockingChats:
    """`Chats` for code without `async`: the same calls, each returning when it is done."""

    def __init__(self, chats: Chats, loop: LoopThread) -> None:
        self._chats = chats
        self._loop = loop
        self.scope = chats.scope

    create = _blocking(Chats.create)
    ensure = _blocking(Chats.ensure)
    get = _blocking(Chats.get)
    find = _blocking(Chats.find)
    list = _blocking(Chats.list)
    update = _blocking(Chats.update)
    delete = _blocking(Chats.delete)
    restore = _blocking(Chats.restore)
    purge = _blocking(Chats.purge)
    erase = _blocking(Chats.erase)
    append = _blocking(Chats.append)
    append_turn = _blocking(Chats.append_turn)
    messages = _blocking(Chats.messages)
    mine = _blocking(Chats.mine)
    message = _blocking(Chats.message)
    pop = _blocking(Chats.pop)
    pop_turn = _blocking(Chats.pop_turn)
    clear = _blocking(Chats.clear)
    apply_retention = _blocking(Chats.apply_retention)
    redact = _blocking(Chats.redact)
    rate = _blocking(Chats.rate)
    select = _blocking(Chats.select)
    fork = _blocking(Chats.fork)
    context = _blocking(Chats.context)
    search = _blocking(Chats.search)
    import_lines = _blocking(Chats.import_lines)

    def export(self, session_ids: Sequence[str] | None = None) -> Iterator[str]:
        """As `Chats.export`."""
        lines = self._chats.export(session_ids)
        try:
            while (line := self._loop.run(lambda: anext(lines, None))) is not None:
                yield line
        finally:
            with suppress(Unavailable):  # closed, and the lines with it
                self._loop.run(lines.aclose)


class BlockingChatkeep:
    """`Chatkeep` for code without `async`; may be used from several threads."""

    def __init__(self, keep: Chatkeep, loop: LoopThread) -> None:
        self._keep = keep
        self._loop = loop

    def for_user(self, user: str, *, app: str = DEFAULT_APP, tenant: str = DEFAULT_TENANT) -> BlockingChats:
        """As `Chatkeep.for_user`."""
        return BlockingChats(self._keep.for_user(user, app=app, tenant=tenant), self._loop)

    def cleanup(self) -> CleanupReport:
        """As `Chatkeep.cleanup`."""
        return self._loop.run(self._keep.cleanup)
