"""An open store, and how it is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from chatkeep.bootstrap import Keeping, keeping
from chatkeep.domain.budgets import DEFAULT_CONTEXT
from chatkeep.domain.errors import Invalid
from chatkeep.domain.policies import PRESETS, RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.engines import open_store
from chatkeep.keep.blocking import BlockingChatkeep
from chatkeep.keep.chats import DEFAULT_APP, DEFAULT_TENANT, Chats
from chatkeep.keep.loop import LoopThread
from chatkeep.keep.opened import Opened
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.ports.embedder import Embedder
from chatkeep.services.retention import CleanupReport

Retention = str | RetentionPolicy | RetentionPolicies


class Chatkeep:
    """An open store. `Chatkeep.open` makes it, `for_user` gives the sessions of one user.

    It is for the process that opened it: a child that was forked opens its own, and gets NotSupported from this one.
    """

    def __init__(self, kept: Keeping) -> None:
        self._opened = Opened(kept)

    @property
    def _kept(self) -> Keeping:
        return self._opened.kept

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        retention: Retention = "keep",
        clock: Clock = system_clock,
        embedder: Embedder | None = None,
    ) -> AsyncIterator[Chatkeep]:
        """Open the store of `url` for the length of an `async with`.

        URLs: `sqlite:///file.db`, `postgresql://host/database`, `dynamodb://region?endpoint=…`, `memory://`, and those
        of registered engines. `retention` is a preset (`keep`, `platform`, `agent`) or a policy. With an `embedder`,
        such as `chatkeep.embedders.minilm.MiniLM()`, which is loaded first, contexts quote older messages by their
        meaning as well as by their words. Raises Invalid, NotSupported, Unavailable, ModelUnavailable.
        """
        policies = _policies(retention)
        context = DEFAULT_CONTEXT
        if embedder is not None:
            await embedder.load()
            context = replace(context, relevance="hybrid")
        opened = await open_store(url, clock)
        try:
            kept = keeping(opened, clock, policies, context, embedder=embedder)
            try:
                yield cls(kept)
            finally:
                await kept.context.close()
        finally:
            await opened.store.close()

    @staticmethod
    @contextmanager
    def open_sync(
        url: str,
        *,
        retention: Retention = "keep",
        clock: Clock = system_clock,
        embedder: Embedder | None = None,
    ) -> Iterator[BlockingChatkeep]:
        """Open the store of `url` for the length of a `with`, for code without `async`. As `open`."""
        with LoopThread() as loop:
            opening = Chatkeep.open(url, retention=retention, clock=clock, embedder=embedder)
            keep = loop.run(opening.__aenter__)
            try:
                yield BlockingChatkeep(keep, loop)
            finally:
                if not loop.is_inherited:
                    loop.run(lambda: opening.__aexit__(None, None, None))

    def for_user(self, user: str, *, app: str = DEFAULT_APP, tenant: str = DEFAULT_TENANT) -> Chats:
        """Return the sessions of one user. Raises Invalid for an empty or overlong name."""
        return Chats(self._opened, Scope(tenant, app, user))

    async def cleanup(self) -> CleanupReport:
        """Apply the retention policy and remove what is gone; a server does this by itself."""
        return await self._kept.retention.cleanup()


def _policies(retention: Retention) -> RetentionPolicies:
    if isinstance(retention, RetentionPolicies):
        return retention
    if isinstance(retention, RetentionPolicy):
        return RetentionPolicies(retention)
    if retention not in PRESETS:
        raise Invalid(f"retention {retention!r} is none of {', '.join(PRESETS)}", field="retention")
    return RetentionPolicies(PRESETS[retention])
