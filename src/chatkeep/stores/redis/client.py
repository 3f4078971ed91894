"""The driver's clients, one way for one server, a master behind sentinels, and a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from chatkeep.stores.redis.address import Address

CONNECT_SECONDS = 2.0
WAIT_SECONDS = 5.0
NO_REPEATS = 0
"""Repeats are the services' policy."""

_AS_THEY_COME = ("HGETALL", "SMEMBERS", "XRANGE", "ZADD", "ZRANGE", "ZRANGEBYSCORE", "ZSCORE")
"""Commands whose answers the driver shall not make into something else."""

Value = bytes | str | int


class Client:
    """Sends commands, each with the keys of one scope at most."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        for name in _AS_THEY_COME:
            raw.response_callbacks.pop(name, None)

    async def one(self, command: Sequence[Value]) -> Any:
        """Return the answer to one command."""
        return await self.raw.execute_command(*command)

    async def several(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Return the answers to commands that are sent together; other writers may come between."""
        pipeline = self.raw.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute())

    async def followed_by(self, key: bytes, command: Sequence[Value], second: Sequence[Value]) -> tuple[Any, Any]:
        """Return the answers to two commands that are sent by the same connection, to the node of `key`."""
        del key
        first, then = await self.several([command, second])
        return first, then

    async def everywhere(self, command: Sequence[Value]) -> list[Any]:
        """Return the answers of all masters."""
        return [await self.one(command)]

    async def doubt(self) -> None:
        """Take it that this may not be the master any more."""

    async def close(self) -> None:
        """Close all connections."""
        await self.raw.aclose()


class WatchedClient(Client):
    """The same, for a master that sentinels know."""

    def __init__(self, sentinels: Any, raw: Any) -> None:
        super().__init__(raw)
        self._sentinels = sentinels

    async def doubt(self) -> None:
        """Let go of the connections: the sentinels are asked for every new one. A master that was away takes itself for
        the master for some seconds when it is back.
        """
        await self.raw.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        await super().close()
        for sentinel in self._sentinels.sentinels:
            await sentinel.aclose()


class ClusterClient(Client):
    """The same, for a cluster."""

    async def followed_by(self, key: bytes, command: Sequence[Value], second: Sequence[Value]) -> tuple[Any, Any]:
        node = self.raw.get_node_from_key(key)
        connection = node.acquire_connection()
        try:
            await connection.send_command(*command)
            await connection.send_command(*second)
            return await node.parse_response(connection, str(command[0])), await node.parse_response(
                connection, str(second[0])
            )
        finally:
            node._free.append(connection)  # noqa: SLF001

    async def everywhere(self, command: Sequence[Value]) -> list[Any]:
        await self.raw.initialize()
        answers = await self.raw.execute_command(*command, target_nodes=self.raw.get_primaries())
        return list(answers.values()) if isinstance(answers, dict) else [answers]


def pairs(answer: Any) -> set[tuple[bytes, bytes]]:
    """Return the fields of a hash or a like answer, as the driver gives it for one or another protocol."""
    return set(answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True))


def connect(address: Address, *, answer_seconds: float) -> Client:
    """Return a client, which connects when it is used."""
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "client_name": "chatkeep",
        "retry": Retry(NoBackoff(), NO_REPEATS),
        "protocol": 2,
    }
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return ClusterClient(RedisCluster(startup_nodes=nodes, ssl=address.tls, max_connections=address.pool, **common))
    if address.kind == "sentinel":
        watch = {name: common[name] for name in ("socket_connect_timeout", "socket_timeout", "retry")}
        sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]  # the driver has no type there
            list(address.hosts), sentinel_kwargs=watch | {"ssl": address.tls}
        )
        master = sentinels.master_for(
            address.service, db=address.database, ssl=address.tls, max_connections=address.pool, **common
        )
        return WatchedClient(sentinels, master)
    ((host, port),) = address.hosts
    kind: dict[str, Any] = {"connection_class": SSLConnection} if address.tls else {}
    pool = BlockingConnectionPool(
        host=host,
        port=port,
        db=address.database,
        max_connections=address.pool,
        timeout=WAIT_SECONDS,
        **common,
        **kind,
    )
    return Client(Redis.from_pool(pool))
