"""The engine as a whole, and how it is opened."""

from __future__ import annotations

import logging
from contextlib import suppress
from importlib.resources import files

from chatkeep.domain.errors import NotSupported, StoreError
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.redis.address import Address
from chatkeep.stores.redis.client import Client, connect, pairs
from chatkeep.stores.redis.errors import translated
from chatkeep.stores.redis.maintenance import SCHEMA_STEPS, SCHEMA_VERSION, RedisMaintenance
from chatkeep.stores.redis.names import GlobalNames
from chatkeep.stores.redis.sessions import RedisStates
from chatkeep.stores.versions import check_schema

ANSWER_SECONDS = 5.0
_OLDEST = (7, 0)
_EVICTS = "allkeys"
"""So begin the policies that remove keys without an end of their own, as all of Chatkeep's are."""
_STEP = 500

_log = logging.getLogger(__name__)


class RedisStore(RedisMaintenance, RedisStates):
    """The whole contract on Redis 7 or later, and Valkey, alone, behind sentinels or as a cluster."""

    _product = "Redis"

    @property
    def engine(self) -> str:
        return self._product

    async def erase_scope(self, scope: Scope) -> Receipt:
        names = self._of(scope)
        total = Receipt({})
        while ids := await self._ask("ZRANGE", names.ids, 0, _STEP - 1):
            for session_id in map(bytes.decode, ids):
                receipt = await self._until_won(lambda session_id=session_id: self._purge(names, session_id))  # type: ignore[misc]
                total += receipt or Receipt({})
        return total

    async def prepare(self, address: Address, *, migrate: bool) -> None:
        """Meet the server; with `migrate`, load the functions and note the version of the schema.

        Raises NotSupported for a server that is too old or does not promise what the address asks for.
        """
        with translated():
            facts = _facts((await self._open.everywhere(["INFO", "server"]))[0])
            memories = await self._open.everywhere(["INFO", "memory"])
        version = facts.get("valkey_version") or facts["redis_version"]
        self._product = f"{'Valkey' if 'valkey_version' in facts else 'Redis'} {version}"
        if tuple(int(part) for part in facts["redis_version"].split(".")[:2]) < _OLDEST:
            raise NotSupported(f"{self._product} is too old; Chatkeep needs Redis 7.0 or later")
        if any(_facts(memory).get("maxmemory_policy", "").startswith(_EVICTS) for memory in memories):
            raise NotSupported(
                "the server removes any key when its memory is full, conversations as well; set `maxmemory-policy "
                "noeviction`"
            )
        if address.sync == "always":
            await self._check_sync()
        if migrate:
            code = files(__package__).joinpath("scripts", "chatkeep.lua").read_text("utf-8")
            with translated():
                await self._open.everywhere(["FUNCTION", "LOAD", "REPLACE", code])
            if int((await self.schema())["version"]) < SCHEMA_VERSION:
                await self._ask("SET", self._names.schema, SCHEMA_VERSION)
        await self.ping()

    async def _check_sync(self) -> None:
        advice = (
            "set `appendonly yes` and `appendfsync always`, or say that losing the newest writes in a crash is "
            "acceptable: add sync=none to the URL"
        )
        try:
            with translated():
                found = await self._open.everywhere(["CONFIG", "GET", "append*"])
        except StoreError as error:
            raise NotSupported(f"the server does not tell whether it writes before it answers; {advice}") from error
        promised = {b"appendonly": b"yes", b"appendfsync": b"always"}
        if any(promised.items() - pairs(one) for one in found):
            raise NotSupported(f"the server answers before its writes are on the disk; {advice}")

    async def ping(self) -> None:
        check_schema(int((await self.schema())["version"]), SCHEMA_STEPS)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError):
                await client.close()


def _facts(told: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)


async def open_redis(
    address: Address, *, clock: Clock = system_clock, migrate: bool = True, answer_seconds: float = ANSWER_SECONDS
) -> RedisStore:
    """Open the keys at `address`; see Address for what is promised. Raises Unavailable, NotSupported."""
    client: Client = connect(address, answer_seconds=answer_seconds)
    store = RedisStore(
        clock, client, GlobalNames(address.prefix), replicas=address.replicas, confirm_seconds=answer_seconds / 2
    )
    try:
        await store.prepare(address, migrate=migrate)
    except BaseException:
        await store.close()
        raise
    return store
