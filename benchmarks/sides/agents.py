"""The sessions of the OpenAI Agents SDK; one object a session, kept between turns."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.workload import Said, sqlalchemy_url, turn

BATCH_ITEMS = 500


def _items(said: tuple[str, str]) -> list[Any]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]


def _said(items: list[Any]) -> list[Said]:
    return [Said(item["role"], item["content"]) for item in items]


class Plain:
    """SQLiteSession."""

    has_lists = False

    async def open(self, place: str) -> None:
        self._file = place
        self._make = importlib.import_module("agents").SQLiteSession

    async def session(self, name: str) -> Any:
        return self._make(name, self._file)

    async def append(self, session: Any, question: str, answer: str) -> None:
        await session.add_items(_items((question, answer)))

    async def newest(self, session: Any, count: int) -> list[Said]:
        return _said(await session.get_items(count))

    async def everything(self, session: Any) -> list[Said]:
        return _said(await session.get_items())

    async def seed(self, name: str, turns: int) -> None:
        session = await self.session(name)
        items = [item for at in range(turns) for item in _items(turn(f"{name}.seed{at}"))]
        for begin in range(0, len(items), BATCH_ITEMS):
            await session.add_items(items[begin : begin + BATCH_ITEMS])

    async def seed_list(self, user: str, count: int) -> None:
        raise NotImplementedError

    async def recent(self, user: str, count: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        return


class Asynchronous(Plain):
    """AsyncSQLiteSession."""

    async def open(self, place: str) -> None:
        self._file = place
        self._make = importlib.import_module("agents.extensions.memory").AsyncSQLiteSession


class Alchemy(Plain):
    """SQLAlchemySession, one engine for all sessions."""

    async def open(self, place: str) -> None:
        engines = importlib.import_module("sqlalchemy.ext.asyncio")
        self._engine = engines.create_async_engine(sqlalchemy_url(place))
        self._make = importlib.import_module("agents.extensions.memory").SQLAlchemySession
        await self._make("first", engine=self._engine, create_tables=True).get_items(1)

    async def session(self, name: str) -> Any:
        return self._make(name, engine=self._engine, create_tables=False)

    async def close(self) -> None:
        await self._engine.dispose()


class Redis(Plain):
    """RedisSession, one client for all sessions."""

    async def open(self, place: str) -> None:
        self._client = importlib.import_module("redis.asyncio").Redis.from_url(place)
        self._make = importlib.import_module("agents.extensions.memory").RedisSession

    async def session(self, name: str) -> Any:
        return self._make(name, redis_client=self._client)

    async def close(self) -> None:
        await self._client.aclose()
