"""What is written down of a request: its route, its status and its time; never what it says."""

from __future__ import annotations

import itertools
import time
from functools import cached_property

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatkeep.api.metrics import Metrics
from chatkeep.domain.ids import new_id

UNTRACED = "/v1/apps/{app}/incognito/chat"
"""Nothing at all is written down of these requests."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUIET = frozenset(("/health", "/health/ready", "/metrics"))
_FAILED = 500
_REFUSED = 400


class AccessLog:
    """Logs and counts every request under its route's template, and gives it an id."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._process = new_id()[:8]
        self._numbers = itertools.count(1)

    @cached_property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        """The logger as it is configured when the first request is told of."""
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger("chatkeep.access").bind()
        return log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then tell."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = _FAILED
        request_id = f"{self._process}-{next(self._numbers)}"

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._tell(scope, status, time.perf_counter() - begun, request_id)

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = scope.get("route")
        template = getattr(route, "path_format", "unmatched")
        if template == UNTRACED:
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, template, str(status)).inc()
        self._metrics.request_seconds.labels(method, template).observe(seconds)
        if "sessions" in getattr(route, "tags", ()):
            outcome = "failed" if status >= _FAILED else "refused" if status >= _REFUSED else "ok"
            self._metrics.operations.labels(getattr(route, "operation_id", None) or "other", outcome).inc()
        level = self._log.debug if template in _QUIET else self._log.info
        level(
            "request",
            method=method,
            route=template,
            status=status,
            duration_ms=round(seconds * 1000, 1),
            request_id=request_id,
        )
