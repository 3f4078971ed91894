"""The program `chatkeep`: all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from chatkeep.cli import chat, context, copying, doctor, messages, search, serve, sessions, transfer, upkeep
from chatkeep.cli.release import release

app = typer.Typer(
    name="chatkeep",
    help="Keeps the conversations of LLM applications.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001 -- the form that typer calls
    if asked:
        typer.echo(f"chatkeep {release()}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep the conversations of LLM applications."""


for _module in (serve, chat, context, search, transfer, copying, upkeep, doctor):
    app.add_typer(_module.group)
app.add_typer(sessions.group, name="sessions")
app.add_typer(messages.group, name="messages")
