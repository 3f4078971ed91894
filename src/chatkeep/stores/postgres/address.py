"""Where a database is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chatkeep.domain.errors import Invalid

DEFAULT_SCHEMA = "chatkeep"
DEFAULT_POOL = 10
_MAX_POOL = 1_000
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Address:
    """`dsn` is what the driver takes; `schema` holds the tables; `pool` is the most connections of one process."""

    dsn: str
    schema: str = DEFAULT_SCHEMA
    pool: int = DEFAULT_POOL

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Return what `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&pool=N` says.

        Every part may be missing; other options, such as `sslmode`, are the driver's. Raises Invalid.
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise Invalid(f"a PostgreSQL URL begins with postgresql://, not {parts.scheme!r}", field="store_url")
        options = dict(parse_qsl(parts.query))
        schema = options.pop("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(schema):
            raise Invalid(
                f"schema {schema!r} must be of a-z, 0-9 and _, not begin with a digit, and have at most 63 characters",
                field="store_url",
            )
        pool = options.pop("pool", str(DEFAULT_POOL))
        if not pool.isdecimal() or not 1 <= int(pool) <= _MAX_POOL:
            raise Invalid(f"pool must be a number from 1 to {_MAX_POOL}, not {pool!r}", field="store_url")
        dsn = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(options)))
        return cls(dsn, schema, int(pool))
