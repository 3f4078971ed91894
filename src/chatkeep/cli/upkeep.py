"""The commands `chatkeep cleanup` and `chatkeep migrate`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chatkeep.cli.output import progress
from chatkeep.cli.place import Place, command
from chatkeep.cli.stores import file_of, public_url
from chatkeep.domain.errors import MigrationNeeded

group = typer.Typer()


@command(group, "cleanup")
async def cleanup(at: Place) -> None:
    """Apply the retention policies to all apps and users, and remove what is gone."""
    async with at.keeping() as keeping:
        with progress("cleaning up") as tell:
            report = await keeping.retention.cleanup(
                most=sys.maxsize,
                progress=lambda so_far: tell(
                    so_far.purged_sessions + so_far.trashed_sessions + so_far.pruned_messages + so_far.swept_rows
                ),
            )
    counts = {
        "purged_sessions": report.purged_sessions,
        "trashed_sessions": report.trashed_sessions,
        "pruned_messages": report.pruned_messages,
        "swept_rows": report.swept_rows,
    }
    if at.out.as_json:
        at.out.document({**counts, "finished": report.finished, "removed": report.removed.removed})
    else:
        at.out.record({name.replace("_", " "): str(count) for name, count in counts.items()})


@command(group, "migrate")
async def migrate(
    at: Place,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if a migration is needed.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Change nothing; show the steps that are needed.")] = False,
) -> None:
    """Bring the store's schema to the version of this release, and show it."""
    from chatkeep.engines import open_store  # noqa: PLC0415 -- `--help` needs no store

    url = at.settings().url()
    path = file_of(url)
    only_look = check or plan
    if only_look and path is not None and not path.exists():
        at.out.note(f"there is no database at {str(path)!r} yet; `chatkeep migrate` makes it")
        raise typer.Exit(int(check))
    try:
        opened = await open_store(url, migrate=not only_look)
    except MigrationNeeded as error:
        if not only_look:
            raise
        _show_plan(at, public_url(url), error)
        raise typer.Exit(int(check)) from None
    try:
        facts = dict(await opened.maintenance.schema())
    finally:
        await opened.store.close()
    found = {"store": public_url(url), "engine": opened.store.engine, **facts}
    if at.out.as_json:
        at.out.document({**found, "current": True, "steps": []})
    else:
        at.out.record(found)


def _show_plan(at: Place, store: str, needed: MigrationNeeded) -> None:
    found = {"store": store, "version": str(needed.found), "wanted": str(needed.wanted)}
    if at.out.as_json:
        at.out.document({**found, "current": False, "steps": list(needed.steps)})
    else:
        at.out.record({**found, "steps": ", ".join(needed.steps)})
    at.out.note(f"chatkeep: {needed}")
