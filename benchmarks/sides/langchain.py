"""LangChain's history and LangGraph's checkpoints; both read whole conversations."""

from __future__ import annotations

import importlib
import warnings
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.workload import Said, sqlalchemy_url, turn

BATCH_MESSAGES = 500


def _said(messages: list[Any]) -> list[Said]:
    return [Said(message.type, message.content) for message in messages]


class _Messages:
    """What both have in common."""

    has_lists = False

    def _load(self) -> None:
        warnings.simplefilter("ignore")
        messages = importlib.import_module("langchain_core.messages")
        self._human, self._ai = messages.HumanMessage, messages.AIMessage

    def _turn(self, said: tuple[str, str]) -> list[Any]:
        return [self._human(said[0]), self._ai(said[1])]

    async def seed_list(self, user: str, count: int) -> None:
        raise NotImplementedError

    async def recent(self, user: str, count: int) -> int:
        raise NotImplementedError


class History(_Messages):
    """SQLChatMessageHistory, one engine for all sessions."""

    async def open(self, place: str) -> None:
        self._load()
        engines = importlib.import_module("sqlalchemy.ext.asyncio")
        self._engine = engines.create_async_engine(sqlalchemy_url(place))
        self._make = importlib.import_module("langchain_community.chat_message_histories").SQLChatMessageHistory
        await (await self.session("first")).aget_messages()

    async def session(self, name: str) -> Any:
        return self._make(name, connection=self._engine)

    async def append(self, session: Any, question: str, answer: str) -> None:
        await session.aadd_messages(self._turn((question, answer)))

    async def newest(self, session: Any, count: int) -> list[Said]:
        return (await self.everything(session))[-count:]

    async def everything(self, session: Any) -> list[Said]:
        return _said(await session.aget_messages())

    async def seed(self, name: str, turns: int) -> None:
        session = await self.session(name)
        messages = [message for at in range(turns) for message in self._turn(turn(f"{name}.seed{at}"))]
        for begin in range(0, len(messages), BATCH_MESSAGES):
            await session.aadd_messages(messages[begin : begin + BATCH_MESSAGES])

    async def close(self) -> None:
        await self._engine.dispose()


class Graph(_Messages):
    """A graph of one node, whose state is the messages, with AsyncSqliteSaver; a turn runs the graph."""

    async def open(self, place: str) -> None:
        self._load()
        self._stack = AsyncExitStack()
        graphs = importlib.import_module("langgraph.graph")
        saver = await self._stack.enter_async_context(self._saver(place))
        await saver.setup()
        state = type("State", (graphs.MessagesState,), {"__annotations__": {"reply": str}})
        graph = graphs.StateGraph(state)
        graph.add_node("bot", self._reply)
        graph.add_edge(graphs.START, "bot")
        graph.add_edge("bot", graphs.END)
        self._graph = graph.compile(checkpointer=saver)

    def _saver(self, place: str) -> Any:
        return importlib.import_module("langgraph.checkpoint.sqlite.aio").AsyncSqliteSaver.from_conn_string(place)

    async def _reply(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [self._ai(state["reply"])]}

    async def session(self, name: str) -> Any:
        return {"configurable": {"thread_id": name}}

    async def append(self, session: Any, question: str, answer: str) -> None:
        await self._graph.ainvoke({"messages": [self._human(question)], "reply": answer}, session)

    async def newest(self, session: Any, count: int) -> list[Said]:
        return (await self.everything(session))[-count:]

    async def everything(self, session: Any) -> list[Said]:
        return _said((await self._graph.aget_state(session)).values.get("messages", []))

    async def seed(self, name: str, turns: int) -> None:
        messages = [message for at in range(turns) for message in self._turn(turn(f"{name}.seed{at}"))]
        config = await self.session(name)
        await self._graph.aupdate_state(config, {"messages": messages, "reply": ""}, as_node="bot")

    async def close(self) -> None:
        await self._stack.aclose()


class PostgresGraph(Graph):
    """The same with AsyncPostgresSaver."""

    def _saver(self, place: str) -> Any:
        return importlib.import_module("langgraph.checkpoint.postgres.aio").AsyncPostgresSaver.from_conn_string(place)


class RedisHistory(History):
    """RedisChatMessageHistory, which is synchronous: its calls run in threads, as LangChain itself runs them."""

    async def open(self, place: str) -> None:
        self._load()
        self._place = place
        self._make = importlib.import_module("langchain_community.chat_message_histories").RedisChatMessageHistory

    async def session(self, name: str) -> Any:
        return self._make(name, url=self._place)

    async def close(self) -> None:
        return
