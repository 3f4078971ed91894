"""The clients, one way for one server, a master behind sentinels, and a cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Protocol

import hiredis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from chatkeep.stores.redis.address import Address
from chatkeep.stores.redis.errors import NotMaster, Refused
from chatkeep.stores.redis.wire import Value, Wire

CONNECT_SECONDS = 2.0
WIRES = 4
_NO_REPEATS = 0
"""Repeats are the services' policy."""
_NOT_THE_MASTER = ("READONLY", "NOREPLICAS", "MASTERDOWN")
_AS_THEY_COME = ("HGETALL", "INFO", "SMEMBERS", "XRANGE", "ZADD", "ZRANGE", "ZRANGEBYSCORE", "ZSCORE")
"""Commands whose answers the driver shall not make into something else."""


class Client(Protocol):
    """Sends commands, each with the keys of one scope at most. Answers are as the protocol has them, in bytes."""

    async def one(self, command: Sequence[Value]) -> Any:
        """Return the answer to one command."""

    async def several(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Return the answers to commands that are sent together; other writers may come between."""

    async def at_once(self, commands: Sequence[Sequence[Value]]) -> list[Any] | None:
        """Return the answers to reads between which no other writer comes; None if the server or this client does not
        give that, and a function has to.
        """

    async def followed_by(self, key: bytes, command: Sequence[Value], second: Sequence[Value]) -> tuple[Any, Any]:
        """Return the answers to two commands that are sent by the same connection, to the node of `key`."""

    async def everywhere(self, command: Sequence[Value]) -> list[Any]:
        """Return the answers of all masters."""

    async def doubt(self) -> None:
        """Take it that what this speaks to may not be the master any more."""

    async def close(self) -> None:
        """Close all connections."""


class WireClient:
    """A client of one server, or of the master that sentinels know, over a few connections that all calls share."""

    def __init__(self, address: Address, *, answer_seconds: float) -> None:
        self._address = address
        self._answer_seconds = answer_seconds
        self._tls = ssl.create_default_context() if address.tls else None
        self._wires: list[Wire] = []
        self._opening = asyncio.Lock()
        self._sentinel: Any = None
        if address.kind == "sentinel":
            watch: dict[str, Any] = {
                "socket_connect_timeout": CONNECT_SECONDS,
                "socket_timeout": CONNECT_SECONDS,
                "retry": Retry(NoBackoff(), _NO_REPEATS),
                "ssl": address.tls,
            }
            self._sentinel = Sentinel(list(address.hosts), sentinel_kwargs=watch)  # type: ignore[no-untyped-call]

    async def _wire(self) -> Wire:
        """Return the connection with the fewest calls; a new one while all are busy and there are fewer than WIRES."""
        best = min((wire for wire in self._wires if wire.is_open), key=_calls, default=None)
        if best is not None and (not best.waiting or len(self._wires) >= WIRES or self._opening.locked()):
            return best
        async with self._opening:
            self._wires = [wire for wire in self._wires if wire.is_open]
            idle = next((wire for wire in self._wires if not wire.waiting), None)
            if idle is None:
                idle = await self._opened()
                self._wires.append(idle)
            return idle

    async def _opened(self) -> Wire:
        host, port = self._address.hosts[0]
        if self._sentinel is not None:
            host, port = await self._sentinel.discover_master(self._address.service)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, wire = await loop.create_connection(lambda: Wire(self._answer_seconds), host, port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise Refused(f"{host}:{port} cannot be reached") from error
        try:
            await self._introduce(wire)
        except BaseException:
            await wire.close()
            raise
        return wire

    async def _introduce(self, wire: Wire) -> None:
        for command in self._introduction():
            _value(await wire.ask(command))
        if self._sentinel is not None and _value(await wire.ask(["ROLE"]))[0] != b"master":
            raise NotMaster("what the sentinels name is not the master, or not yet")

    def _introduction(self) -> list[list[Value]]:
        address = self._address
        said: list[list[Value]] = []
        if address.password is not None:
            said.append(["AUTH", *([address.username] if address.username else []), address.password])
        if address.database:
            said.append(["SELECT", address.database])
        return [*said, ["CLIENT", "SETNAME", "chatkeep"]]

    async def one(self, command: Sequence[Value]) -> Any:
        return await self._checked(await (await self._wire()).ask(command))

    async def several(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        wire = await self._wire()
        answers = await asyncio.gather(*[wire.ask(command) for command in commands])
        return [await self._checked(answer) for answer in answers]

    async def at_once(self, commands: Sequence[Sequence[Value]]) -> list[Any] | None:
        answers = await (await self._wire()).ask_at_once(commands)
        if not isinstance(answers, list) or any(isinstance(answer, hiredis.ReplyError) for answer in answers):
            return None
        return answers

    async def _checked(self, answer: Any) -> Any:
        """Return an answer that is no error."""
        if isinstance(answer, hiredis.ReplyError) and str(answer).startswith(_NOT_THE_MASTER):
            await self.doubt()
        return _value(answer)

    async def followed_by(self, key: bytes, command: Sequence[Value], second: Sequence[Value]) -> tuple[Any, Any]:
        del key
        first, then = await self.several([command, second])
        return first, then

    async def everywhere(self, command: Sequence[Value]) -> list[Any]:
        return [await self.one(command)]

    async def doubt(self) -> None:
        """Let go of the connections: the sentinels are asked for every new one. A master that was away takes itself for
        the master for some seconds when it is back.
        """
        if self._sentinel is not None:
            await self._let_go()

    async def _let_go(self) -> None:
        wires, self._wires = self._wires, []
        for wire in wires:
            await wire.close()

    async def close(self) -> None:
        await self._let_go()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()


class ClusterClient:
    """A client of a cluster: the driver's."""

    def __init__(self, address: Address, *, answer_seconds: float) -> None:
        self._raw = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
            ssl=address.tls,
            max_connections=address.pool,
            username=address.username,
            password=address.password,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds,
            client_name="chatkeep",
            retry=Retry(NoBackoff(), _NO_REPEATS),
            protocol=2,
        )
        for name in _AS_THEY_COME:
            self._raw.response_callbacks.pop(name, None)

    async def one(self, command: Sequence[Value]) -> Any:
        return await self._raw.execute_command(*command)

    async def several(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        pipeline = self._raw.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute())

    async def at_once(self, commands: Sequence[Sequence[Value]]) -> list[Any] | None:
        """Give nothing: the driver looks for a node and a connection for each transaction anew."""
        del commands
        return None

    async def followed_by(self, key: bytes, command: Sequence[Value], second: Sequence[Value]) -> tuple[Any, Any]:
        node = self._raw.get_node_from_key(key)  # type: ignore[arg-type]  # bytes are taken too
        if node is None:
            raise Refused("no node of the cluster is known to have the key")
        connection = node.acquire_connection()
        try:
            await connection.send_command(*command)
            await connection.send_command(*second)
            first = await node.parse_response(connection, str(command[0]))
            return first, await node.parse_response(connection, str(second[0]))
        except BaseException:  # an answer that is still to come would be taken for that to the next question
            await connection.disconnect(nowait=True)
            raise
        finally:
            node.release(connection)

    async def everywhere(self, command: Sequence[Value]) -> list[Any]:
        await self._raw.initialize()
        answers = await self._raw.execute_command(*command, target_nodes=self._raw.get_primaries())
        return list(answers.values()) if isinstance(answers, dict) else [answers]

    async def doubt(self) -> None:
        """Learn anew which node has which slots."""
        await self._raw.nodes_manager.initialize()

    async def close(self) -> None:
        await self._raw.aclose()


def _calls(wire: Wire) -> int:
    return wire.waiting


def _value(answer: Any) -> Any:
    if isinstance(answer, hiredis.ReplyError):
        raise answer
    return answer


def pairs(answer: Any) -> set[tuple[bytes, bytes]]:
    """Return the fields of a hash or a like answer, as the driver gives it for one or another protocol."""
    return set(answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True))


def connect(address: Address, *, answer_seconds: float) -> Client:
    """Return a client, which connects when it is used."""
    if address.kind == "cluster":
        return ClusterClient(address, answer_seconds=answer_seconds)
    return WireClient(address, answer_seconds=answer_seconds)
