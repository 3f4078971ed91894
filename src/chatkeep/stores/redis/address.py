"""Where a database is, and what it promises."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from chatkeep.domain.errors import Invalid

DEFAULT_PREFIX = "chatkeep"
DEFAULT_POOL = 64
_DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379
_MOST = 1_000
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Kind = Literal["one", "sentinel", "cluster"]
Sync = Literal["always", "none"]

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("one", False),
    "rediss": ("one", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
SCHEMES = tuple(_SCHEMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, a master that sentinels know by the name `service`, or a cluster.

    `sync` `always`: the server must write each change to its disk before it answers; `none`: whatever it does.
    `replicas`: so many of them must have confirmed a change before a call returns.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    service: str = ""
    prefix: str = DEFAULT_PREFIX
    pool: int = DEFAULT_POOL
    sync: Sync = "always"
    replicas: int = 0

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Return what a URL says; with `rediss` for TLS.

        `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE`,
        `redis+cluster://HOST:PORT,HOST:PORT`; behind each `?prefix=NAME&pool=N&sync=always&replicas=N`. Raises Invalid.
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise Invalid(f"the scheme must be one of {', '.join(SCHEMES)}, not {parts.scheme!r}", field="store_url")
        kind, tls = _SCHEMES[parts.scheme]
        credentials, _, places = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        port = _SENTINEL_PORT if kind == "sentinel" else _DEFAULT_PORT
        hosts = tuple(_host(place, port) for place in places.split(","))
        if kind == "one" and len(hosts) > 1:
            raise Invalid("several hosts are for redis+sentinel:// and redis+cluster://", field="store_url")
        way = [unquote(step) for step in parts.path.split("/") if step]
        service = way.pop(0) if kind == "sentinel" and way else ""
        if kind == "sentinel" and not service:
            raise Invalid("name the master: redis+sentinel://HOST:26379/NAME", field="store_url")
        database = _number("the database", way.pop(0) if way else "0", 0)
        if way or (kind == "cluster" and database):
            raise Invalid(f"{parts.path!r} is no place of this kind of server", field="store_url")
        options = dict(parse_qsl(parts.query))
        prefix = options.pop("prefix", DEFAULT_PREFIX)
        if not _PREFIX.fullmatch(prefix):
            raise Invalid("prefix must be of letters, digits, _, . and -, at most 64 of them", field="store_url")
        pool = _number("pool", options.pop("pool", str(DEFAULT_POOL)), 1)
        replicas = _number("replicas", options.pop("replicas", "0"), 0)
        sync = options.pop("sync", "always")
        if sync not in ("always", "none"):
            raise Invalid(f"sync must be always or none, not {sync!r}", field="store_url")
        if options:
            raise Invalid(
                f"unknown option {min(options)!r}; known are pool, prefix, replicas and sync", field="store_url"
            )
        return cls(
            kind=kind,
            hosts=hosts,
            tls=tls,
            username=unquote(username) or None,
            password=unquote(password) or None,
            database=database,
            service=service,
            prefix=prefix,
            pool=pool,
            sync="always" if sync == "always" else "none",
            replicas=replicas,
        )


def _host(place: str, default_port: int) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place, str(default_port)
    return host.strip("[]") or "localhost", _number("the port", port, 1, most=65_535)


def _number(what: str, text: str, least: int, *, most: int = _MOST) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Invalid(f"{what} must be a number from {least} to {most}, not {text!r}", field="store_url")
    return int(text)
