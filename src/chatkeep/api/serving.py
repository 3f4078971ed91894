"""Running the service under uvicorn, and ending it without losing an answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from typing_extensions import override

from chatkeep.api.app import create_app
from chatkeep.api.auth import LocalUser, check_binding
from chatkeep.api.house import House
from chatkeep.api.logs import configure_logs
from chatkeep.bootstrap import Application
from chatkeep.domain.errors import Invalid
from chatkeep.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and clients keep an idle connection, so that none is closed while a request is on its way."""
GRACE_SECONDS = 20
"""How long connections may take to end."""
DISMISS_SECONDS = 0.1
"""How long a connection that came in the last moment has to send its request."""


Ready = Callable[[str, Application], None]
"""Is told the address, and what serves there."""


def _unheard(_url: str, _application: Application) -> None:
    """Tell nobody."""


class Server(uvicorn.Server):
    """Serves an application that is open already, and does not end the process.

    At the end answers and streams come first, since uvicorn waits for open connections.
    """

    def __init__(self, app: FastAPI, ready: Callable[[], None] = lambda: None, *, root_path: str = "") -> None:
        house = app.state.house
        assert isinstance(house, House)  # noqa: S101 -- put there by create_app
        self._house = house
        self._ready = ready
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            http="h11",  # httptools, which would be taken where it is installed, reads headers of any size
            root_path=root_path,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
        )
        super().__init__(config)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and tell: signals are heeded by now."""
        await super().startup(sockets)
        self._ready()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and let what is open come to its end."""
        closing = asyncio.create_task(self._house.close())
        leaving = asyncio.create_task(self._dismiss())
        await super().shutdown(sockets)
        leaving.cancel()
        await closing

    async def _dismiss(self) -> None:
        """Close whatever connection is idle, again and again.

        uvicorn looks for them once, and so misses one that was being accepted just then: with nothing to say on either
        side it would hold the end up for all of GRACE_SECONDS.
        """
        while True:
            await asyncio.sleep(DISMISS_SECONDS)
            for connection in list(self.server_state.connections):
                if not connection.transport.is_closing():
                    connection.shutdown()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the server; uvicorn would raise them again, before the application has been closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises Invalid when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise Invalid(
            f"cannot listen on {host} port {port}: {reason}; set CHATKEEP_PORT to a free one", field="port"
        ) from error
    # Connections inherit it. Without it the end of a response waits for the client's delayed acknowledgement: 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def served(settings: Settings, ready: Ready = _unheard) -> None:
    """Serve until a signal comes. `ready` is told when requests are taken.

    Raises Invalid for a host that others could reach, an address that is taken, or settings that nothing can be opened
    with; whatever else opening the store or the model raises.
    """
    authenticator = LocalUser()
    check_binding(settings.host, authenticator)
    with contextlib.closing(listen(settings.host, settings.port)) as listening:
        app = create_app(settings, authenticator=authenticator)
        async with app.router.lifespan_context(app):
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{listening.getsockname()[1]}"
            server = Server(app, lambda: ready(url, app.state.house.open()), root_path=settings.root_path.rstrip("/"))
            # What is there by now stays. Looking through it at each full collection would stop every request meanwhile.
            gc.collect()
            gc.freeze()
            await server.serve([listening])


def serve(settings: Settings, ready: Ready = _unheard) -> None:
    """Configure the logs and serve until a signal comes; see `served`."""
    configure_logs(settings)
    asyncio.run(served(settings, ready))
