"""The application: routes, errors and middleware around the services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from chatkeep.api import docs, page
from chatkeep.api.access import AccessLog
from chatkeep.api.auth import Authenticator, LocalUser
from chatkeep.api.cursor_key import cursor_secret
from chatkeep.api.cursors import Cursors
from chatkeep.api.drain import Drain
from chatkeep.api.errors import add_handlers
from chatkeep.api.faults import Faults
from chatkeep.api.guard import LocalGuard
from chatkeep.api.headers import SecurityHeaders
from chatkeep.api.house import House
from chatkeep.api.metrics import Metrics
from chatkeep.api.openapi import describe
from chatkeep.api.routes import agents, branches, chat, context, health, me, messages, runs, search, sessions, transfer
from chatkeep.bootstrap import running
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.settings import Settings

API_VERSION = "1.0.0"

ROUTERS = (
    sessions.router,
    messages.router,
    chat.router,
    chat.incognito,
    runs.router,
    branches.router,
    agents.router,
    context.router,
    search.router,
    transfer.router,
    transfer.imports,
    me.router,
    health.router,
    docs.router,
    page.router,
)


def create_app(
    settings: Settings, *, authenticator: Authenticator | None = None, clock: Clock = system_clock
) -> FastAPI:
    """Return the service. What `settings` name is opened when it starts and closed when it ends."""
    house = House(authenticator or LocalUser(), Metrics())
    app = FastAPI(
        title="Chatkeep",
        version=API_VERSION,
        lifespan=_lifespan(house, settings, clock),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.house = house
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # include_router would look at each route of each twice
    app.state.methods = [
        (route.path_regex, route.methods)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    add_handlers(app)
    app.add_middleware(Faults)
    if house.authenticator.local_only:
        app.add_middleware(LocalGuard)
    app.add_middleware(Drain)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(AccessLog, metrics=house.metrics)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI documents for a schema of one's own
    return app


def _lifespan(house: House, settings: Settings, clock: Clock) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        house.closing.clear()
        house.cursors = Cursors(cursor_secret(settings))
        metrics = house.metrics
        async with running(
            settings,
            clock=clock,
            on_run_end=metrics.run_ended,
            on_created=metrics.sessions_created.inc,
            on_context=metrics.context_built,
            on_made=metrics.summary_made,
        ) as application:
            house.application = application
            try:
                yield
            finally:
                await house.close()
                house.application = None

    return lifespan
