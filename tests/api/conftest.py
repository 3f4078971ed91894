"""A service in the test's own loop, and clients that check every answer against its description."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr, TypeAdapter

from chatkeep.api.app import ROUTERS, create_app
from chatkeep.api.schemas.basics import Problem
from chatkeep.api.serving import Server, listen
from chatkeep.ports.store import Store
from chatkeep.settings import AgentSettings, Settings
from chatkeep.stores.memory import MemoryStore

BASE = "/v1/apps/default"


@pytest.fixture
def settings() -> Settings:
    """A store in memory, and a model that answers at once."""
    return Settings(
        store_url="memory://",
        model="echo",
        context_relevance="bm25",
        echo_words_per_second=0,
        cursor_secret=SecretStr("0123456789abcdef0123456789abcdef"),
        agents=(
            AgentSettings(name="billing", description="refund invoice payment", instructions="Be exact."),
            AgentSettings(name="smalltalk", description="weather and mood"),
        ),
    )


def described() -> Callable[[httpx.Response], None]:
    """Return a check that an answer is one that the API's description allows."""
    routes = [(route.path_regex, route) for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    adapters = {
        route.unique_id: TypeAdapter(route.response_model) for _, route in routes if route.response_model is not None
    }

    def check(response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "")
        if kind == "application/problem+json":
            Problem.model_validate_json(response.content)
        if kind != "application/json" or not response.is_success:
            return
        path = response.request.url.path
        for pattern, route in routes:
            if pattern.match(path) and response.request.method in (route.methods or ()):
                adapters[route.unique_id].validate_python(response.json())
                return
        raise AssertionError(f"nothing describes {response.request.method} {path}")

    return check


def client_of(transport: httpx.AsyncBaseTransport | None, base: str) -> httpx.AsyncClient:
    """Return a client whose paths begin behind `/v1/apps/default`."""
    check = described()

    async def checked(response: httpx.Response) -> None:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            await response.aread()
            check(response)

    return httpx.AsyncClient(
        transport=transport, base_url=base + BASE, event_hooks={"response": [checked]}, timeout=20, trust_env=False
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """A running application without a socket."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; streams arrive when they are over."""
    async with client_of(httpx.ASGITransport(app), "http://localhost") as client:
        yield client


@pytest.fixture
def store(app: FastAPI) -> Store:
    """What the application keeps its sessions in: a back door."""
    store = app.state.house.open().keeping.opened.store
    assert isinstance(store, MemoryStore)
    return store


@dataclass(frozen=True)
class Running:
    """A server on a port of its own."""

    app: FastAPI
    server: Server
    client: httpx.AsyncClient
    port: int
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """End the server as a signal would, and wait for it."""
        self.server.should_exit = True
        await asyncio.wait_for(self.task, 10)


@contextlib.asynccontextmanager
async def running_server(settings: Settings, *, root_path: str = "") -> AsyncIterator[Running]:
    """Run a server in this loop."""
    app = create_app(settings)
    with contextlib.closing(listen("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with (
            app.router.lifespan_context(app),
            client_of(None, f"http://127.0.0.1:{port}") as client,
        ):
            server = Server(app, root_path=root_path)
            running = Running(app, server, client, port, asyncio.create_task(server.serve([listening])))
            while not server.started:  # noqa: ASYNC110 -- uvicorn has a flag and no event
                await asyncio.sleep(0.01)
            yield running
            await client.aclose()
            await running.stop()


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Running]:
    """A server whose model says fifty words a second."""
    async with running_server(settings.model_copy(update={"echo_words_per_second": 50.0})) as running:
        yield running
