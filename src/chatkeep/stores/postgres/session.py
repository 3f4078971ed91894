"""What a connection is told when it is new, and whether whatever lies between here and the database keeps it.

A pooler in session mode gives each client a connection of the database for as long as the client stays. In transaction
mode it gives it another one for each transaction, which knows nothing of settings and prepared statements.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from secrets import token_hex
from typing import Any

from chatkeep.domain.errors import NotSupported
from chatkeep.stores.postgres.errors import POOLED
from chatkeep.stores.postgres.lease import Connections

_SET = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS setting (name, value)"
_MARK = "chatkeep.mark"


def told(settings: Mapping[str, str]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return what tells a new connection its settings. Told at the start, as the driver can, a pooler refuses them."""

    async def tell(raw: Any) -> None:
        await raw.fetch(_SET, list(settings), list(settings.values()))

    return tell


async def check_connections(connections: Connections) -> None:
    """Raise NotSupported if a pooler does not keep what a connection was told.

    A connection is marked. While another one is in a transaction, which takes the connection of the database that was
    used last, the mark is looked for. With a single connection that cannot be.
    """
    if connections.most == 1:
        return
    async with connections.one() as raw:
        if await raw.fetchval("SELECT pg_backend_pid()") == raw.get_server_pid():
            return  # nobody is in between
        mark = token_hex(8)
        await raw.fetch(_SET, [_MARK], [mark])
        async with connections.one() as other, other.transaction():
            await other.fetchval("SELECT 1")
            if await raw.fetchval("SELECT current_setting($1, true)", _MARK) != mark:
                raise NotSupported(POOLED)
