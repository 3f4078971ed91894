"""The sides: Chatkeep, the least code that does the same on the same driver, and other libraries."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Where a side is: module and class, and whether it runs beside Chatkeep's packages or in the peers' own place."""

    module: str
    name: str
    own: bool = False


SIDES = {
    "Chatkeep": Entry("benchmarks.sides.chatkeep", "ChatkeepSide", own=True),
    "Chatkeep without search": Entry("benchmarks.sides.chatkeep", "WithoutSearch", own=True),
    "floor": Entry("benchmarks.sides.floor", "Floor", own=True),
    "OpenAI Agents SDK, SQLiteSession": Entry("benchmarks.sides.agents", "Plain"),
    "OpenAI Agents SDK, AsyncSQLiteSession": Entry("benchmarks.sides.agents", "Asynchronous"),
    "OpenAI Agents SDK, SQLAlchemySession": Entry("benchmarks.sides.agents", "Alchemy"),
    "Google ADK, DatabaseSessionService": Entry("benchmarks.sides.adk", "DatabaseService"),
    "LangGraph, AsyncSqliteSaver": Entry("benchmarks.sides.langchain", "Graph"),
    "LangChain, SQLChatMessageHistory": Entry("benchmarks.sides.langchain", "History"),
    "Agno, AsyncSqliteDb": Entry("benchmarks.sides.agno", "Agno"),
    "LlamaIndex, SQLiteChatStore": Entry("benchmarks.sides.llama", "ChatStore"),
}
_ON_POSTGRES = {
    "Chatkeep": SIDES["Chatkeep"],
    "floor": Entry("benchmarks.sides.floors", "PostgresFloor", own=True),
    "OpenAI Agents SDK, SQLAlchemySession": SIDES["OpenAI Agents SDK, SQLAlchemySession"],
    "Google ADK, DatabaseSessionService": SIDES["Google ADK, DatabaseSessionService"],
    "LangGraph, AsyncPostgresSaver": Entry("benchmarks.sides.langchain", "PostgresGraph"),
}
_ON_REDIS = {
    "Chatkeep": SIDES["Chatkeep"],
    "floor": Entry("benchmarks.sides.floors", "RedisFloor", own=True),
    "OpenAI Agents SDK, RedisSession": Entry("benchmarks.sides.agents", "Redis"),
    "LangChain, RedisChatMessageHistory": Entry("benchmarks.sides.langchain", "RedisHistory"),
}
SQLITE = "SQLite"
ENGINES = {
    SQLITE: SIDES,
    "PostgreSQL": _ON_POSTGRES,
    "Redis": _ON_REDIS,
    "MongoDB": {"Chatkeep": SIDES["Chatkeep"], "floor": Entry("benchmarks.sides.floors", "MongoFloor", own=True)},
    "DynamoDB": {"Chatkeep": SIDES["Chatkeep"], "floor": Entry("benchmarks.sides.floors", "DynamoFloor", own=True)},
}
"""The sides on each engine. All but SQLite are given a URL; no peer keeps conversations durably on the last two."""
FLOOR = "floor"
OURS = "Chatkeep"
FASTEST_PEER = "OpenAI Agents SDK, SQLiteSession"
