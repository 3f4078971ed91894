"""From a URL to an open store: the only place that names engines, each imported when it is chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from chatkeep.domain.errors import Invalid, NotSupported
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.ports.store import Maintenance, SearchIndex, Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """An engine, as its three roles. `search` None: search is a bounded scan."""

    store: Store
    maintenance: Maintenance
    search: SearchIndex | None = None


class StoreOpener(Protocol):
    """Opens the store of a URL."""

    def __call__(self, url: str, clock: Clock, *, migrate: bool) -> Awaitable[OpenedStore]:
        """Open the store; `migrate` false refuses an older schema with NotSupported instead of bringing it up to date.

        Raises Invalid for a URL it cannot read, NotSupported, Unavailable.
        """


_openers: dict[str, StoreOpener] = {}


def register_store(scheme: str) -> Callable[[StoreOpener], StoreOpener]:
    """Register, as a decorator, the opener of every URL that begins with `scheme:`.

    A package that ships an engine names its opener in the entry-point group `chatkeep.stores`, under the scheme.
    """

    def add(opener: StoreOpener) -> StoreOpener:
        _openers[scheme.lower()] = opener
        return opener

    return add


async def open_store(url: str, clock: Clock = system_clock, *, migrate: bool = True) -> OpenedStore:
    """Open the store that `url` names, as StoreOpener says.

    Raises Invalid for an unknown scheme, NotSupported when an extra is missing.
    """
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    opener = _openers.get(scheme)
    if opener is None and colon:
        opener = next((found.load() for found in _entry_points() if found.name == scheme), None)
    if opener is None:
        named = f"no engine for the store URL scheme {scheme!r}" if colon else "a store URL begins with its engine"
        known = ", ".join(f"{name}:" for name in store_schemes())
        raise Invalid(f"{named}; known are {known} (as in sqlite:///chats.db)", field="store_url")
    return await opener(url, clock, migrate=migrate)


def store_schemes() -> list[str]:
    """Return the URL schemes that an engine is registered for."""
    return sorted({*_openers, *(found.name for found in _entry_points())})


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and needed for engines of others only

    return entry_points(group="chatkeep.stores")


@register_store("memory")
async def _open_memory(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:  # noqa: ARG001 -- it is always new
    from chatkeep.stores.memory import MemoryStore  # noqa: PLC0415 -- engines load when chosen

    if url not in ("memory:", "memory://"):
        raise Invalid("the URL of the memory store is memory://", field="store_url")
    store = MemoryStore(clock=clock)
    return OpenedStore(store, store)


@register_store("sqlite")
async def _open_sqlite(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    from chatkeep.stores.sqlite import open_sqlite  # noqa: PLC0415 -- engines load when chosen

    store = await open_sqlite(sqlite_path(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store, store)


@register_store("dynamodb")
async def _open_dynamodb(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.dynamodb import Address, open_dynamodb  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the DynamoDB store needs an extra: pip install 'chatkeep[dynamodb]'") from error

    store = await open_dynamodb(Address.of_url(url), clock=clock)
    try:
        await (store.create_tables() if migrate else store.ping())
    except BaseException:
        await store.close()
        raise
    return OpenedStore(store, store)


@register_store("mongodb")
@register_store("mongodb+srv")
async def _open_mongodb(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.mongodb import Address, open_mongodb  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the MongoDB store needs an extra: pip install 'chatkeep[mongodb]'") from error

    store = await open_mongodb(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store)


async def _open_redis(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.redis import Address, open_redis  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the Redis store needs an extra: pip install 'chatkeep[redis]'") from error

    store = await open_redis(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store)


for _scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
    register_store(_scheme)(_open_redis)


@register_store("postgres")
@register_store("postgresql")
async def _open_postgres(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.postgres import Address, open_postgres  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the PostgreSQL store needs an extra: pip install 'chatkeep[postgres]'") from error

    store = await open_postgres(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store, store)


def sqlite_path(url: str) -> Path:
    """Return the file of a `sqlite:///relative.db` or `sqlite:////absolute.db` URL. Raises Invalid."""
    prefix = "sqlite:///"
    path = unquote(url[len(prefix) :])
    if path == ":memory:":
        raise Invalid("for a store that is lost with its process write memory://", field="store_url")
    if url[: len(prefix)].lower() != prefix or path[-1:] in ("", "/") or "\0" in path or "?" in url or "#" in url:
        hint = "write sqlite:///chats.db or sqlite:////var/lib/chats.db, with %23 for # and %3F for ?"
        raise Invalid(f"{url!r} is no SQLite URL; {hint}", field="store_url")
    return Path(path)
