"""What nobody expected."""

from __future__ import annotations

import traceback

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatkeep.api.errors import Problem

_log = structlog.get_logger("chatkeep.faults")


class Faults:
    """Answers a fault of ours with 500, and logs where it happened, without the words of the error: they may quote."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. What fails after the answer has begun breaks the connection off."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("fault", kind=type(error).__name__, where=where)
            if started or scope["type"] != "http":
                raise
            await Problem(500, "internal", "something went wrong here; the server's log tells where")(
                scope, receive, send
            )
