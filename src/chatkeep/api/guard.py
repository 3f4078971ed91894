"""What a server without authentication refuses: other names for this machine, and pages of other sites."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chatkeep.api.auth import is_loopback
from chatkeep.api.errors import Problem

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class LocalGuard:
    """Refuses a Host that is not loopback (DNS rebinding), and unsafe requests that a page of another origin sent.

    A browser tells where a request comes from in Sec-Fetch-Site, or else in Origin; other clients send neither.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            refusal = _refusal(scope["method"], headers)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(method: str, headers: Headers) -> Problem | None:
    host = headers.get("host", "")
    named = _HOST.fullmatch(host)
    if named is None or not is_loopback(named[1]):
        return Problem(
            421, "host_refused", "without authentication Chatkeep answers to localhost, 127.0.0.1 and [::1] only"
        )
    if method not in SAFE_METHODS and _is_cross_site(headers, host):
        return Problem(403, "cross_site", "a page of another origin may not do this")
    return None


def _is_cross_site(headers: Headers, host: str) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and _netloc(origin) != host.lower()


def _netloc(origin: str) -> str:
    """Return host and port of an origin, or nothing for one that has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
