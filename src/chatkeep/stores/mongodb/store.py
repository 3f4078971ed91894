"""The engine as a whole, and how it is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, InvalidURI

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import to_us
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.items.store import ItemStore
from chatkeep.stores.mongodb.errors import translated
from chatkeep.stores.mongodb.tables import Document, MongoTables, durable

DEFAULT_DATABASE = "chatkeep"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MAX_CONNECTIONS = 64

_DATABASE = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SCHEMES = ("mongodb", "mongodb+srv")


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is what the driver takes, credentials included; `database` holds the collections."""

    url: str = field(repr=False)
    database: str = DEFAULT_DATABASE

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Return what `mongodb://USER:PASSWORD@HOST,HOST/DATABASE?replicaSet=NAME` says.

        Every part but the host may be missing; the options are the driver's. Raises Invalid.
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise Invalid(
                f"a MongoDB URL begins with mongodb:// or mongodb+srv://, not {parts.scheme!r}", field="store_url"
            )
        database = unquote(parts.path.strip("/")) or DEFAULT_DATABASE
        if not _DATABASE.fullmatch(database):
            raise Invalid(
                f"database {database!r} must be of letters, digits, _ and -, at most 63 of them", field="store_url"
            )
        return cls(url, database)

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that the URL gives, in lower case."""
        return frozenset(name.lower() for name, _ in parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


class MongoStore(ItemStore):
    """The whole contract on MongoDB 4.4 or later, a replica set or a standalone server, by writes of single documents.

    `client` is closed by `close`.
    """

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        database: str,
        *,
        clock: Clock = system_clock,
        confirm_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._client = client
        self._mongo = MongoTables(durable(client, database, confirm_seconds=confirm_seconds))
        self._version = ""
        super().__init__(self._mongo, clock)

    @property
    def engine(self) -> str:
        return f"MongoDB {self._version}".rstrip()

    async def prepare(self, *, migrate: bool) -> None:
        """Meet the server; with `migrate`, create the indexes and note the version of the schema.

        Raises NotSupported for collections of a newer release.
        """
        with translated():
            self._version = str((await self._client.server_info())["version"])
        if migrate:
            await self._mongo.create_indexes()
            await self._note_schema()
        await self.ping()

    async def schema(self) -> Mapping[str, str]:
        facts = await super().schema()
        with translated():
            said = await self._client.admin.command("isMaster")
        now = said["localTime"].replace(tzinfo=UTC)
        return {**facts, "clock_us": str(to_us(now))}

    async def close(self) -> None:
        self._mongo.close()
        await self._mongo.settled()
        await self._client.close()


async def open_mongodb(
    address: Address, *, clock: Clock = system_clock, migrate: bool = True, answer_seconds: float = ANSWER_SECONDS
) -> MongoStore:
    """Open the collections at `address`, which are made if there are none.

    Repeats are the services' policy, so the driver makes none unless the URL asks for it. Raises Invalid for a URL that
    the driver cannot read, Unavailable, NotSupported for a server that is too old for the driver.
    """
    defaults: dict[str, Any] = {
        "appName": "chatkeep",
        "connectTimeoutMS": int(CONNECT_SECONDS * 1_000),
        "maxPoolSize": MAX_CONNECTIONS,
        "retryReads": False,
        "retryWrites": False,
        "serverSelectionTimeoutMS": int(CONNECT_SECONDS * 1_000),
        "socketTimeoutMS": int(answer_seconds * 1_000),
    }
    given = address.options
    try:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            address.url, **{name: value for name, value in defaults.items() if name.lower() not in given}
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise Invalid(f"the MongoDB URL cannot be read: {error}", field="store_url") from error
    store = MongoStore(client, address.database, clock=clock, confirm_seconds=answer_seconds)
    try:
        await store.prepare(migrate=migrate)
    except BaseException:
        await store.close()
        raise
    return store
