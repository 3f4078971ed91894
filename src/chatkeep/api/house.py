"""What a running server holds, and what a route gets of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request

from chatkeep.api.auth import Authenticator
from chatkeep.api.cursors import Cursors
from chatkeep.api.metrics import Metrics
from chatkeep.bootstrap import Application, Keeping
from chatkeep.domain.errors import Unavailable
from chatkeep.domain.scope import Scope

ID_PATTERN = r"^[A-Za-z0-9._~:@-]{1,128}$"


@dataclass(slots=True)
class House:
    """A running server. `application` is there between start and end only."""

    authenticator: Authenticator
    metrics: Metrics
    application: Application | None = None
    cursors: Cursors = field(default_factory=lambda: Cursors(b""))
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    feeds: int = 0

    def open(self) -> Application:
        """Return the application. Raises Unavailable before the start and after the end."""
        if self.application is None:
            raise Unavailable("this server is not running")
        return self.application

    async def close(self) -> None:
        """Interrupt what is being answered here and let every stream end; repeatable."""
        if self.application is not None:
            await self.application.chat.close()
        self.closing.set()


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody's request: on whose behalf, and what serves it."""

    scope: Scope
    house: House
    application: Application
    url: str
    """The path of everything in this app, as a client behind a proxy sees it."""

    @property
    def keeping(self) -> Keeping:
        """The services that need a store alone."""
        return self.application.keeping

    @property
    def app(self) -> str:
        """The app of the scope."""
        return self.scope.app


def house_of(request: Request) -> House:
    """Return the server that got the request."""
    house = request.app.state.house
    assert isinstance(house, House)  # noqa: S101 -- put there by create_app
    return house


async def _house(request: Request) -> House:
    """Return the server that got the request; a coroutine, since FastAPI gives anything else a thread."""
    return house_of(request)


AppName = Annotated[str, Path(alias="app", pattern=ID_PATTERN, description="The app (namespace) of the caller's data.")]


async def caller_of(request: Request, app: AppName) -> Caller:
    """Return the caller: the only place where routes get a scope from."""
    house = house_of(request)
    scope = await house.authenticator.scope_of(request, app)
    url = f"{request.scope.get('root_path', '')}/v1/apps/{app}"
    return Caller(scope, house, house.open(), url)


Asked = Annotated[Caller, Depends(caller_of)]
InHouse = Annotated[House, Depends(_house)]
