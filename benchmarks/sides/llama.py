"""LlamaIndex's chat store, which keeps a conversation in one row."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.workload import Said, turn


class ChatStore:
    """SQLiteChatStore."""

    has_lists = False

    async def open(self, place: str) -> None:
        self._message = importlib.import_module("llama_index.core.llms").ChatMessage
        stores = importlib.import_module("llama_index.storage.chat_store.sqlite")
        self._store = stores.SQLiteChatStore.from_params(database=place)

    def _turn(self, said: tuple[str, str]) -> list[Any]:
        return [self._message(role=role, content=text) for role, text in zip(("user", "assistant"), said, strict=True)]

    async def session(self, name: str) -> str:
        return name

    async def append(self, session: str, question: str, answer: str) -> None:
        for message in self._turn((question, answer)):
            await self._store.async_add_message(session, message)

    async def newest(self, session: str, count: int) -> list[Said]:
        return (await self.everything(session))[-count:]

    async def everything(self, session: str) -> list[Said]:
        return [Said(message.role.value, message.content) for message in await self._store.aget_messages(session)]

    async def seed(self, name: str, turns: int) -> None:
        messages = [message for at in range(turns) for message in self._turn(turn(f"{name}.seed{at}"))]
        await self._store.aset_messages(name, messages)

    async def seed_list(self, user: str, count: int) -> None:
        raise NotImplementedError

    async def recent(self, user: str, count: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        return
