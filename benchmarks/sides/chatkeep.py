"""Chatkeep, through the class that its users use."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack

from benchmarks.workload import Said, turn
from chatkeep import Chatkeep, Message, assistant, user
from chatkeep.bootstrap import keeping
from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import NewMessage
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.engines import OpenedStore
from chatkeep.ports.clock import system_clock

BATCH_TURNS = 50


class ChatkeepSide:
    """`Chatkeep.open`: one open store for all sessions."""

    has_lists = True

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, place: str) -> None:
        self._keep = await self._opened(place)
        self._chats = self._keep.for_user("u")

    async def _opened(self, place: str) -> Chatkeep:
        return await self._stack.enter_async_context(Chatkeep.open(place if "://" in place else f"sqlite:///{place}"))

    async def session(self, name: str) -> str:
        return name

    async def append(self, session: str, question: str, answer: str) -> None:
        await self._chats.append(session, user(question), assistant(answer), create=True)

    async def newest(self, session: str, count: int) -> list[Said]:
        try:
            return _said(await self._chats.messages(session, last=count))
        except NotFound:
            return []

    async def everything(self, session: str) -> list[Said]:
        return _said(await self._chats.messages(session))

    async def seed(self, name: str, turns: int) -> None:
        for begin in range(0, turns, BATCH_TURNS):
            marks = [f"{name}.seed{at}" for at in range(begin, min(turns, begin + BATCH_TURNS))]
            said = [message for mark in marks for message in _turn(mark)]
            await self._chats.append(name, *said, create=True)

    async def seed_list(self, user: str, count: int) -> None:
        chats = self._keep.for_user(user)
        for at in range(count):
            await chats.create(f"{user}.{at}", title=f"Session {at}")

    async def recent(self, user: str, count: int) -> int:
        return len((await self._keep.for_user(user).list(limit=count)).items)

    async def close(self) -> None:
        await self._stack.aclose()


class WithoutSearch(ChatkeepSide):
    """The same without the index of the full-text search, as the other sides have none."""

    async def _opened(self, place: str) -> Chatkeep:
        from chatkeep.stores.sqlite import open_sqlite  # noqa: PLC0415 -- its import is part of opening, as elsewhere

        store = await open_sqlite(place, search=False)
        self._stack.push_async_callback(store.close)
        return Chatkeep(keeping(OpenedStore(store, store), system_clock, RetentionPolicies()))


def _turn(mark: str) -> tuple[NewMessage, NewMessage]:
    question, answer = turn(mark)
    return user(question), assistant(answer)


def _said(entries: Iterable[object]) -> list[Said]:
    return [Said(entry.role, entry.text) for entry in entries if isinstance(entry, Message)]
