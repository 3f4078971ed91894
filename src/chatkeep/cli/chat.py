"""The command `chatkeep chat`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from chatkeep.cli.conversation import Conversation
from chatkeep.cli.messages import read_stdin
from chatkeep.cli.output import Output
from chatkeep.cli.place import STOPPED, Place, command, sentence
from chatkeep.cli.terminal import Lines, attended
from chatkeep.domain.errors import ChatkeepError, Invalid

group = typer.Typer()

_HELP = """\
/new          begin a new session
/sessions     list the latest sessions
/open ID      go on with one of them
/title TEXT   give this session a title
/retry        answer the last question again
/help         this list
/quit         leave; so do Ctrl-D, and Ctrl-C at the prompt
Ctrl-C while an answer comes stops it and keeps what was said. A message that begins with / is written with two."""


@command(group, "chat")
async def chat(
    at: Place,
    *,
    session_id: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="The session to go on with, or to begin.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new session instead of the last one.")] = False,
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", metavar="TEXT", help="Say this, show the answer, leave; - is stdin."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model; else CHATKEEP_MODEL.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent that answers.")] = None,
) -> None:
    """Chat, in the last session unless told otherwise. Without -m every line is a message; /help lists commands."""
    from chatkeep.bootstrap import running  # noqa: PLC0415 -- `--help` needs no store and no model

    if new and session_id is not None:
        raise Invalid("--new and --session exclude each other; give one of them")
    said = read_stdin() if message == "-" else message
    settings = at.settings(**({} if model is None else {"model": model}))
    async with running(settings) as application:
        if application.notice is not None:
            at.out.note(application.notice)
        conversation = Conversation(application, at.scope, session_id, agent, at.out)
        if session_id is None and not new:
            await conversation.resume_last()
        status = await _attend(conversation, at.out, said)
    if status == "cancelled":
        raise typer.Exit(STOPPED)
    if status in ("failed", "interrupted"):
        raise typer.Exit(1)


async def _attend(conversation: Conversation, out: Output, said: str | None) -> str | None:
    """Say the one message and return how its answer ended, or talk until the person leaves."""
    lines = Lines()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- a coroutine runs in one

    def interrupt() -> None:
        if not conversation.stop() and not lines.leave():
            task.cancel()

    async with attended(interrupt):
        if said is not None:
            return await conversation.say(said)
        await conversation.show()
        await _talk(conversation, out, lines)
    return None


async def _talk(conversation: Conversation, out: Output, lines: Lines) -> None:
    while (line := await lines.read("> ")) is not None:
        try:
            if not await _take(conversation, out, line):
                return
        except ChatkeepError as error:
            out.note(f"chatkeep: {sentence(error)}")
    if lines.at_terminal:
        out.line()


async def _take(conversation: Conversation, out: Output, line: str) -> bool:
    """Do what a line says; return False if it says to leave."""
    if not line.strip():
        return True
    if not line.startswith("/") or line.startswith("//"):
        await conversation.say(line.removeprefix("/") if line.startswith("//") else line)
        return True
    name, _, rest = line.strip().partition(" ")
    if name in ("/quit", "/exit"):
        return False
    act = _commands(conversation, out, rest.strip()).get(name)
    if act is None:
        out.note(f"there is no command {name}; /help lists them")
    else:
        await act()
    return True


def _commands(conversation: Conversation, out: Output, rest: str) -> dict[str, Callable[[], Awaitable[object]]]:
    async def begin() -> None:
        conversation.session_id = None
        out.note("a new session")

    async def entitle() -> None:
        await (conversation.rename(rest) if rest else _usage(out, "/title TEXT"))

    async def go_to() -> None:
        await (conversation.open(rest) if rest else _usage(out, "/open ID"))

    async def tell_help() -> None:
        out.note(_HELP)

    return {
        "/new": begin,
        "/sessions": conversation.list_sessions,
        "/open": go_to,
        "/title": entitle,
        "/retry": conversation.retry,
        "/help": tell_help,
    }


async def _usage(out: Output, form: str) -> None:
    out.note(f"write {form}")
