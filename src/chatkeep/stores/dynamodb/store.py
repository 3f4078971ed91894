"""The engine as a whole, and how it is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # the package ships no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]  # the package ships no types
from botocore.loaders import create_loader  # type: ignore[import-untyped]  # the package ships no types

from chatkeep.domain.errors import Invalid
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.dynamodb.answers import Parsers
from chatkeep.stores.dynamodb.errors import translated
from chatkeep.stores.dynamodb.schema import create_tables
from chatkeep.stores.dynamodb.tables import DynamoTables
from chatkeep.stores.items.store import ItemStore

DEFAULT_PREFIX = "chatkeep-"
CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 64


class DynamoStore(ItemStore):
    """The whole contract on any server that speaks the DynamoDB API, by conditional writes of single items.

    `client` is an open client of aiobotocore with retries turned off: repeats are the services' policy. It is left
    open; `release` is awaited by `close`.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = DEFAULT_PREFIX,
        clock: Clock = system_clock,
        place: str = "",
        release: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._dynamo = DynamoTables(client, prefix)
        super().__init__(self._dynamo, clock)
        self._address = place
        self._release = release

    @property
    def engine(self) -> str:
        return f"DynamoDB API at {self._address}" if self._address else "DynamoDB API"

    async def create_tables(self) -> None:
        """Create what is missing; see `schema.create_tables`. Raises NotSupported for tables of a newer release."""
        await create_tables(self._dynamo)
        await self._note_schema()

    async def close(self) -> None:
        self._tables.close()
        release, self._release = self._release, None
        if release is not None:
            await release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the tables are. `endpoint` None: the region's own; `region` None: as the environment says."""

    region: str | None = None
    endpoint: str | None = None
    prefix: str = DEFAULT_PREFIX

    @classmethod
    def of_url(cls, url: str) -> Address:
        """Return what `dynamodb://REGION/PREFIX?endpoint=URL` says; each part may be missing. Raises Invalid."""
        parts = urlsplit(url)
        if parts.scheme != "dynamodb":
            raise Invalid(f"{url!r} does not begin with dynamodb://", field="url")
        if parts.username or parts.password:
            raise Invalid(
                "credentials do not belong into the URL; give them in the environment or a profile", field="url"
            )
        options = dict(parse_qsl(parts.query))
        unknown = options.keys() - {"endpoint"}
        if unknown:
            raise Invalid(f"unknown option {min(unknown)!r} in the URL; known is endpoint", field="url")
        prefix = unquote(parts.path.strip("/"))
        return cls(region=parts.hostname, endpoint=options.get("endpoint"), prefix=prefix or DEFAULT_PREFIX)

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine, where a test server takes any credentials."""
        host = urlsplit(self.endpoint).hostname if self.endpoint else None
        if host is None:
            return False
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


@cache
def _loader() -> Any:
    """Return the driver's description of the API, which is large, once for all clients of the process."""
    return create_loader()


async def open_dynamodb(
    address: Address, *, clock: Clock = system_clock, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
) -> DynamoStore:
    """Return a store with a client of its own, which `close` closes. The tables are created by `create_tables`.

    Credentials come from where the driver looks for them: environment, profile, role. Without any, an endpoint on this
    machine is sent made-up ones; any other is not.
    """
    session = get_session()
    session.register_component("data_loader", _loader())
    session.register_component("response_parser_factory", Parsers())
    options: dict[str, Any] = {}
    if address.is_loopback:
        for remote in ("container-role", "iam-role"):  # no question leaves the machine on behalf of a test server
            session.get_component("credential_provider").remove(remote)
        options["region_name"] = address.region or session.get_config_variable("region") or "us-east-1"
        if await session.get_credentials() is None:
            options |= {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    elif address.region:
        options["region_name"] = address.region
    if address.endpoint:
        options["endpoint_url"] = address.endpoint
    config = AioConfig(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout_seconds,
        max_pool_connections=MAX_CONNECTIONS,
        retries={"total_max_attempts": 1},
        parameter_validation=False,  # what is sent is built here; the server judges it anyway
        user_agent="chatkeep",  # the driver composes its long one anew for every request
    )
    stack = AsyncExitStack()
    with translated():
        client = await stack.enter_async_context(session.create_client("dynamodb", config=config, **options))
    return DynamoStore(
        client,
        prefix=address.prefix,
        clock=clock,
        place=address.endpoint or client.meta.region_name,
        release=stack.aclose,
    )
