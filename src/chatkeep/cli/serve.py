"""The command `chatkeep serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from chatkeep.cli.output import shown
from chatkeep.cli.place import Place, command
from chatkeep.cli.stores import public_url
from chatkeep.domain.errors import NotSupported

if TYPE_CHECKING:
    from chatkeep.bootstrap import Application

group = typer.Typer()


@command(group, "serve")
async def serve(
    at: Place,
    *,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where to listen; else CHATKEEP_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65_535, help="0 for any; else CHATKEEP_PORT, else 8000."),
    ] = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where a proxy serves it, such as /chat.")
    ] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM; answers under way are kept."""
    try:
        from chatkeep.api.logs import configure_logs  # noqa: PLC0415 -- `--help` needs no server
        from chatkeep.api.serving import served  # noqa: PLC0415 -- the same
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("chatkeep"):
            raise
        raise NotSupported("the service needs an extra: pip install 'chatkeep[server]'") from error
    given = {"host": host, "port": port, "root_path": root_path}
    settings = at.settings(**{name: value for name, value in given.items() if value is not None})
    configure_logs(settings)
    await served(settings, lambda url, application: _tell(at, url, settings.url(), application))


def _tell(at: Place, url: str, store_url: str, application: Application) -> None:
    found = {
        "url": url,
        "store": public_url(store_url),
        "engine": application.keeping.opened.store.engine,
        "model": application.models.names()[0],
        "notice": application.notice,
    }
    if at.out.as_json:
        at.out.document(found)
    else:
        at.out.line(f"Chatkeep is at {url} (Ctrl-C ends it)")
        at.out.record({name: shown(str(found[name])) for name in ("store", "engine", "model", "notice") if found[name]})
    at.out.flush()
