"""The command `chatkeep serve`."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatkeep.cli.place import Place, command
from chatkeep.cli.stores import public_url
from chatkeep.domain.errors import Invalid, NotSupported, Unavailable

if TYPE_CHECKING:
    from chatkeep.bootstrap import Application

group = typer.Typer()

GRACE_SECONDS = 5
"""How long requests under way may go on after the end was asked for; answers are kept in any case."""


@command(group, "serve")
async def serve(
    at: Place,
    *,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; else CHATKEEP_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port, 0 for any; else CHATKEEP_PORT, else 8000.")
    ] = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where a proxy serves it, such as /chat.")
    ] = None,
) -> None:
    """Run the service."""
    try:
        import uvicorn  # noqa: PLC0415 -- `--help` needs no server

        from chatkeep.api.app import create_app  # noqa: PLC0415 -- the same
        from chatkeep.api.auth import LocalUser, check_binding  # noqa: PLC0415 -- the same
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("chatkeep"):
            raise
        raise NotSupported("the service needs an extra: pip install 'chatkeep[server]'") from error
    given = {"host": host, "port": port, "root_path": root_path}
    settings = at.settings(**{name: value for name, value in given.items() if value is not None})
    check_binding(settings.host, LocalUser())
    listening = listen(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        root_path=settings.root_path,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _told(uvicorn.Server, lambda: _tell(at, listening, settings.url(), app.state.house.open()))(config)
    with contextlib.closing(listening), contextlib.suppress(KeyboardInterrupt):
        await server.serve(sockets=[listening])
    if not server.started:
        raise Unavailable("the service could not start; the lines above say why")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises Unavailable for a port that is taken, Invalid for no address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Invalid(f"{host!r} is no address of this machine; set --host, such as 127.0.0.1", field="host") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)  # as many as uvicorn lets wait
    except OSError as error:
        bound.close()
        raise _refused(host, port, error) from error
    bound.set_inheritable(False)
    return bound


def _refused(host: str, port: int, error: OSError) -> Unavailable | Invalid:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"port {port} on {host} is in use; stop what uses it, or choose another with --port")
    if error.errno == errno.EACCES:
        return Invalid(f"port {port} needs rights that this user has not; choose one from 1024 on with --port")
    return Invalid(f"{host!r} is no address of this machine ({error.strerror}); set --host, such as 127.0.0.1")


def _told(kind: type[Any], tell: Callable[[], None]) -> type[Any]:
    """Return a kind of server that tells when it has begun to answer."""

    class Told(kind):  # type: ignore[misc]  # uvicorn is imported when it is used
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                tell()

    return Told


def place_url(listening: socket.socket) -> str:
    """Return where a browser finds what listens there."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 -- compared with, not bound to
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 -- the same
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell(at: Place, listening: socket.socket, store_url: str, running: Application) -> None:
    model = running.models.names()[0]
    store = f"{running.keeping.opened.store.engine} · {public_url(store_url)}"
    if at.out.as_json:
        found = {"url": place_url(listening), "store": store, "model": model, "notice": running.notice}
        at.out.document(found)
    else:
        at.out.record({"Chatkeep": place_url(listening), "store": store, "model": model, "notice": running.notice})
    at.out.flush()
