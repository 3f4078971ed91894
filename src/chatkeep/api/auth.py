"""Who is asking. The one place where a request becomes a scope."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Protocol

from starlette.requests import Request

from chatkeep.domain.errors import Invalid
from chatkeep.domain.scope import Scope

LOCAL_TENANT = "default"
LOCAL_USER = "local"


class Authenticator(Protocol):
    """Decides on whose behalf a request acts. A user is never taken from a path, a query or a body."""

    @property
    def local_only(self) -> bool:
        """Whether anybody who reaches the server is let in, so that only this machine may reach it."""

    async def scope_of(self, request: Request, app: str) -> Scope:
        """Return the caller's scope in `app`."""


class LocalUser:
    """No authentication: one user on one machine."""

    local_only = True

    async def scope_of(self, request: Request, app: str) -> Scope:  # noqa: ARG002 -- see Authenticator
        """See Authenticator."""
        return Scope(LOCAL_TENANT, app, LOCAL_USER)


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without a port, means this machine."""
    name = host.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_binding(host: str, authenticator: Authenticator) -> None:
    """Raise Invalid if a server without authentication were to listen where others can reach it."""
    if authenticator.local_only and not is_loopback(host):
        raise Invalid(
            f"without authentication Chatkeep listens on this machine only, not on {host!r}; set CHATKEEP_HOST to "
            "127.0.0.1, and put a proxy that authenticates in front of it to serve others",
            field="host",
        )
