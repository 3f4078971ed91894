"""The least code that does the work of a turn on the drivers of the server engines: nothing is checked, nothing can be
repeated safely, and a session has one writer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.workload import Said, turn

BATCH_TURNS = 50
CONNECTIONS = 8


def _body(role: str, text: str) -> bytes:
    return json.dumps({"role": role, "text": text}).encode()


def _bodies(*texts: str) -> list[bytes]:
    return [_body(("user", "assistant")[at % 2], text) for at, text in enumerate(texts)]


def _said(bodies: list[bytes]) -> list[Said]:
    return [Said(said["role"], said["text"]) for said in map(json.loads, bodies)]


class _Floor:
    """What all have in common: a session is its name, and many turns are written in batches."""

    has_lists = True

    async def session(self, name: str) -> str:
        return name

    async def append(self, session: str, question: str, answer: str) -> None:
        await self._put(session, _bodies(question, answer))

    async def _put(self, session: str, bodies: list[bytes]) -> None:
        raise NotImplementedError

    async def seed(self, name: str, turns: int) -> None:
        for begin in range(0, turns, BATCH_TURNS):
            said = [turn(f"{name}.seed{at}") for at in range(begin, min(turns, begin + BATCH_TURNS))]
            await self._put(name, _bodies(*(text for both in said for text in both)))


_TABLES = """
CREATE TABLE IF NOT EXISTS floor_sessions(
    id text PRIMARY KEY, owner text, title text, modified bigint, last bigint, incarnation text DEFAULT 'x',
    source text DEFAULT 'user', state text DEFAULT 'active', pinned bigint, created bigint DEFAULT 1, ttl bigint,
    expires bigint, trashed_from text, trashed bigint, first bigint DEFAULT 1, head bigint DEFAULT 0,
    jumps text DEFAULT '[]', run text, queued text DEFAULT '[]', revision bigint DEFAULT 1, metadata text DEFAULT '{}',
    hidden smallint DEFAULT 0);
CREATE INDEX IF NOT EXISTS floor_recent ON floor_sessions(owner, modified DESC);
CREATE TABLE IF NOT EXISTS floor_messages(session text, seq bigint, body bytea, PRIMARY KEY (session, seq));
"""
_APPEND = """
WITH grown AS (
    INSERT INTO floor_sessions VALUES ($1, 'u', '', $2, $3)
    ON CONFLICT (id) DO UPDATE SET last = floor_sessions.last + $3, modified = $2 RETURNING last
)
INSERT INTO floor_messages SELECT $1, grown.last - $3 + m.at, m.body
FROM grown, unnest($4::bytea[]) WITH ORDINALITY AS m (body, at)
"""


class PostgresFloor(_Floor):
    """Two tables, a few connections, one statement for each call; PostgreSQL itself groups commits."""

    async def open(self, place: str) -> None:
        import asyncpg  # noqa: PLC0415 -- its import is part of opening, as elsewhere

        planned_once = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await asyncpg.connect(place, server_settings=planned_once))
        async with self._connection() as db:
            await db.execute(_TABLES)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        db = await self._free.get()
        try:
            yield db
        finally:
            self._free.put_nowait(db)

    async def _put(self, session: str, bodies: list[bytes]) -> None:
        async with self._connection() as db:
            await db.execute(_APPEND, session, time.time_ns(), len(bodies), bodies)

    async def newest(self, session: str, count: int) -> list[Said]:
        query = "SELECT body FROM floor_messages WHERE session = $1 ORDER BY seq DESC LIMIT $2"
        async with self._connection() as db:
            return _said([body for (body,) in await db.fetch(query, session, count)])[::-1]

    async def everything(self, session: str) -> list[Said]:
        query = "SELECT body FROM floor_messages WHERE session = $1 ORDER BY seq"
        async with self._connection() as db:
            return _said([body for (body,) in await db.fetch(query, session)])

    async def seed_list(self, user: str, count: int) -> None:
        insert = "INSERT INTO floor_sessions VALUES ($1, $2, $3, $4, 0)"
        async with self._connection() as db:
            await db.executemany(insert, [(f"{user}.{at}", user, f"Session {at}", at) for at in range(count)])

    async def recent(self, user: str, count: int) -> int:
        query = "SELECT * FROM floor_sessions WHERE owner = $1 ORDER BY modified DESC LIMIT $2"
        async with self._connection() as db:
            return len(await db.fetch(query, user, count))

    async def close(self) -> None:
        while not self._free.empty():
            await self._free.get_nowait().close()


class RedisFloor(_Floor):
    """A list of messages, a hash and a sorted set, in one pipeline of the driver."""

    async def open(self, place: str) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 -- its import is part of opening

        self._redis: Any = Redis(connection_pool=BlockingConnectionPool.from_url(place, max_connections=CONNECTIONS))

    async def _put(self, session: str, bodies: list[bytes]) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(f"m:{session}", *bodies)
            pipe.hset(f"s:{session}", mapping={"title": "", "modified": time.time_ns()})
            pipe.zadd("l:u", {session: time.time_ns()})
            await pipe.execute()

    async def newest(self, session: str, count: int) -> list[Said]:
        return _said(await self._redis.lrange(f"m:{session}", -count, -1))

    async def everything(self, session: str) -> list[Said]:
        return _said(await self._redis.lrange(f"m:{session}", 0, -1))

    async def seed_list(self, user: str, count: int) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for at in range(count):
                pipe.hset(f"s:{user}.{at}", mapping={"title": f"Session {at}", "modified": at})
                pipe.zadd(f"l:{user}", {f"{user}.{at}": at})
            await pipe.execute()

    async def recent(self, user: str, count: int) -> int:
        names = await self._redis.zrevrange(f"l:{user}", 0, count - 1)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(b"s:" + name)
            return len(await pipe.execute())

    async def close(self) -> None:
        await self._redis.aclose()


class MongoFloor(_Floor):
    """A document for each message and one for the session, which counts them: two writes."""

    async def open(self, place: str) -> None:
        from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, WriteConcern  # noqa: PLC0415 -- part of opening

        self._client: Any = AsyncMongoClient(place)
        name = urlsplit(place).path.strip("/")
        database = self._client.get_database(name, write_concern=WriteConcern(w="majority", j=True))
        self._messages, self._sessions = database["floor_messages"], database["floor_sessions"]
        await self._messages.create_index([("session", ASCENDING), ("seq", ASCENDING)])
        await self._sessions.create_index([("owner", ASCENDING), ("modified", DESCENDING)])

    async def _put(self, session: str, bodies: list[bytes]) -> None:
        changes = {"$inc": {"last": len(bodies)}, "$set": {"owner": "u", "modified": time.time_ns()}}
        after: Any = await self._sessions.find_one_and_update(
            {"_id": session}, changes, upsert=True, return_document=True
        )
        first = after["last"] - len(bodies)
        rows = [{"session": session, "seq": first + at, "body": body} for at, body in enumerate(bodies)]
        await self._messages.insert_many(rows)

    async def newest(self, session: str, count: int) -> list[Said]:
        found = self._messages.find({"session": session}).sort("seq", -1).limit(count)
        return _said([row["body"] async for row in found])[::-1]

    async def everything(self, session: str) -> list[Said]:
        return _said([row["body"] async for row in self._messages.find({"session": session}).sort("seq", 1)])

    async def seed_list(self, user: str, count: int) -> None:
        rows = [{"_id": f"{user}.{at}", "owner": user, "title": "", "modified": at} for at in range(count)]
        await self._sessions.insert_many(rows)

    async def recent(self, user: str, count: int) -> int:
        return len([row async for row in self._sessions.find({"owner": user}).sort("modified", -1).limit(count)])

    async def close(self) -> None:
        await self._client.close()


class DynamoFloor(_Floor):
    """An item for the session and one for each message: an update that counts, then a batch."""

    has_lists = False

    async def open(self, place: str) -> None:
        from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # noqa: PLC0415 -- as above
        from aiobotocore.session import get_session  # type: ignore[import-untyped]  # noqa: PLC0415 -- as above

        self._table = "floor"
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        endpoint = parse_qs(urlsplit(place).query)["endpoint"][0]
        config = AioConfig(parameter_validation=False, max_pool_connections=64)
        self._context = get_session().create_client("dynamodb", endpoint_url=endpoint, config=config, **keys)
        self._client: Any = await self._context.__aenter__()
        names = (("pk", "S"), ("n", "N"))
        try:
            await self._client.create_table(
                TableName=self._table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in names],
                KeySchema=[
                    {"AttributeName": name, "KeyType": way}
                    for (name, _), way in zip(names, ("HASH", "RANGE"), strict=True)
                ],
            )
        except self._client.exceptions.ResourceInUseException:
            await asyncio.sleep(0.1)

    async def _put(self, session: str, bodies: list[bytes]) -> None:
        after = await self._client.update_item(
            TableName=self._table,
            Key={"pk": {"S": f"s:{session}"}, "n": {"N": "0"}},
            UpdateExpression="ADD last_seq :count SET modified = :now",
            ExpressionAttributeValues={":count": {"N": str(len(bodies))}, ":now": {"N": str(time.time_ns())}},
            ReturnValues="ALL_NEW",
        )
        first = int(after["Attributes"]["last_seq"]["N"]) - len(bodies)
        puts = [
            {"PutRequest": {"Item": {"pk": {"S": session}, "n": {"N": str(first + at)}, "body": {"B": body}}}}
            for at, body in enumerate(bodies)
        ]
        for begin in range(0, len(puts), 25):
            await self._client.batch_write_item(RequestItems={self._table: puts[begin : begin + 25]})

    async def _query(self, session: str, **more: Any) -> list[bytes]:
        found: list[bytes] = []
        while True:
            page = await self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": session}},
                ConsistentRead=True,
                **more,
            )
            found += [item["body"]["B"] for item in page["Items"]]
            if "LastEvaluatedKey" not in page or "Limit" in more:
                return found
            more["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def newest(self, session: str, count: int) -> list[Said]:
        return _said(await self._query(session, ScanIndexForward=False, Limit=count))[::-1]

    async def everything(self, session: str) -> list[Said]:
        return _said(await self._query(session))

    async def seed_list(self, user: str, count: int) -> None:
        raise NotImplementedError

    async def recent(self, user: str, count: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        await self._context.__aexit__(None, None, None)
