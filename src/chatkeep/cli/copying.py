"""The command `chatkeep copy`."""

from __future__ import annotations

from typing import Annotated

import typer

from chatkeep.cli.output import progress
from chatkeep.cli.place import Place, command
from chatkeep.cli.stores import public_url
from chatkeep.domain.errors import Invalid

group = typer.Typer()


@command(group, "copy")
async def copy(
    at: Place,
    *,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The store to copy into; its schema is made.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="The store to copy; else that of the settings.")
    ] = None,
) -> None:
    """Copy all conversations of all users into another store, whatever the engines, and compare.

    Run it again to go on where it stopped, and to bring the target up to date. Runs, and what lies in the trash, are
    not copied. Exit code 1 if the target does not have all that the source has.
    """
    from chatkeep.engines import open_store  # noqa: PLC0415 -- `--help` needs no store
    from chatkeep.services.copying import CopyService  # noqa: PLC0415 -- the same

    source = source or at.settings().url()
    if source == to:
        raise Invalid("source and target are the same store", field="to")
    opened = await open_store(source, migrate=False)
    try:
        target = await open_store(to)
        try:
            service = CopyService(opened.store, opened.maintenance, target.store)
            with progress("copying") as tell:
                report = await service.copy(progress=lambda so_far: tell(sum(so_far.sessions.values())))
        finally:
            await target.store.close()
    finally:
        await opened.store.close()
    if at.out.as_json:
        items = [
            {"tenant": item.scope.tenant, "app": item.scope.app, "user": item.scope.user}
            | {"session_id": item.session_id, "outcome": item.outcome}
            for item in report.items
        ]
        at.out.document(
            {
                "from": public_url(source),
                "to": public_url(to),
                "complete": report.is_complete,
                "scopes": report.scopes,
                "sessions": dict(report.sessions),
                "messages": report.messages,
                "verified_messages": report.verified_messages,
                "items": items,
            }
        )
    else:
        counts = {f"sessions {outcome}": str(count) for outcome, count in sorted(report.sessions.items())}
        at.out.record(
            {
                "users": str(report.scopes),
                **counts,
                "messages copied": str(report.messages),
                "messages verified": str(report.verified_messages),
            }
        )
        for item in report.items:
            at.out.note(f"chatkeep: {item.outcome}: {item.session_id!r} of {item.scope.user!r} in {item.scope.app!r}")
    if not report.is_complete:
        raise typer.Exit(1)
