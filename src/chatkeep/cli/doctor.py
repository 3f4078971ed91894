"""The command `chatkeep doctor`."""

from __future__ import annotations

import typer

from chatkeep.cli.place import Place, command

group = typer.Typer()


@command(group, "doctor")
async def doctor(at: Place) -> None:
    """Look at settings, store, model and port, and tell how to mend what is wrong."""
