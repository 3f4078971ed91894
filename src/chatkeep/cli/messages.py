"""The commands `chatkeep messages …`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from chatkeep.cli.documents import message_json, session_json
from chatkeep.cli.output import Output, confirm, moment_text
from chatkeep.cli.place import Place, command
from chatkeep.domain.errors import Invalid, LimitExceeded
from chatkeep.domain.limits import MAX_MESSAGE_BYTES, MAX_READ
from chatkeep.domain.messages import Content, Message, NewMessage, Text, Unreadable
from chatkeep.domain.scope import Scope
from chatkeep.services.history import HistoryService
from chatkeep.services.markdown import entry_text

group = typer.Typer(help="Read, add and remove messages.", no_args_is_help=True)

Entry = Message | Unreadable

_Id = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]


@command(group, "list")
async def list_messages(
    at: Place,
    session_id: _Id,
    *,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="The newest N.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    all_branches: Annotated[bool, typer.Option("--all-branches", help="Those off the active path too.")] = False,
) -> None:
    """Show a session's messages, the newest last."""
    path: Literal["active", "all"] = "all" if all_branches else "active"
    async with at.keeping() as keeping:
        after = 0 if everything else await _before_last(keeping.history, at.scope, session_id, last, path)
        while entries := await keeping.history.read(
            at.scope, session_id, after_seq=after, limit=MAX_READ, newest_first=False, path=path
        ):
            for entry in entries:
                tell_message(at.out, entry)
            after = entries[-1].seq


async def _before_last(
    history: HistoryService, scope: Scope, session_id: str, last: int, path: Literal["active", "all"]
) -> int:
    """Return the seq behind which the newest `last` messages stand."""
    before: int | None = None
    while last > 0:
        read = await history.read(scope, session_id, before_seq=before, limit=min(last, MAX_READ), path=path)
        last -= len(read)
        if not read:
            return 0
        before = read[-1].seq
    return 0 if before is None else before - 1


def tell_message(out: Output, entry: Entry) -> None:
    """Write one message."""
    if out.as_json:
        out.document(message_json(entry))
        return
    if isinstance(entry, Unreadable):
        out.line(f"#{entry.seq} cannot be read: {entry.reason}\n")
        return
    name = entry.content.agent_name or entry.role
    mark = "" if entry.status == "complete" else f" · {entry.status}"
    out.line(f"#{entry.seq} {name} · {moment_text(entry.created_at)}{mark}")
    out.line(_body(entry) + "\n")


def _body(entry: Message) -> str:
    """Return what stands below the heading in Markdown."""
    return entry_text(entry).split("\n\n", 1)[1].strip("\n")


@command(group, "add")
async def add(
    at: Place,
    session_id: _Id,
    *,
    role: Annotated[Literal["user", "assistant", "system", "tool"], typer.Option(help="Who says it.")] = "user",
    text: Annotated[str | None, typer.Option(help="What is said; else it is read from stdin.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the session if it is missing.")] = False,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="With the same key a repeat adds nothing.")] = None,
) -> None:
    """Append a message."""
    said = read_stdin() if text is None else text
    if not said:
        raise Invalid("there is nothing to add; give --text, or write it to stdin", field="text")
    message = NewMessage(role, Content(parts=(Text(said),)))
    async with at.keeping() as keeping:
        stored = await keeping.history.append(at.scope, session_id, [message], idempotency_key=key, create=create)
    for entry in stored.messages:
        tell_message(at.out, entry)
    if stored.repeated:
        at.out.note("it had been stored already; nothing was added")


def read_stdin() -> str:
    """Return all of stdin without the last line end. Raises Invalid for what is not UTF-8, and LimitExceeded."""
    given = sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)
    if len(given) > MAX_MESSAGE_BYTES:
        raise LimitExceeded("message", actual=len(given), limit=MAX_MESSAGE_BYTES, unit="bytes or more")
    try:
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise Invalid(
            f"stdin is not UTF-8 (byte {error.start}); convert it first, such as with iconv -f latin1 -t utf-8"
        ) from error


@command(group, "redact")
async def redact(at: Place, session_id: _Id, seq: Annotated[int, typer.Argument(metavar="SEQ", min=1)]) -> None:
    """Remove the content of one message, keeping its place."""
    async with at.keeping() as keeping:
        tell_message(at.out, await keeping.history.redact(at.scope, session_id, seq))


@command(group, "pop")
async def pop(
    at: Place,
    session_id: _Id,
    *,
    turn: Annotated[bool, typer.Option("--turn", help="Back to before the newest user message.")] = False,
) -> None:
    """Take the last message off the active path and show it."""
    async with at.keeping() as keeping:
        if turn:
            taken = list(await keeping.history.pop_turn(at.scope, session_id))
        else:
            last = await keeping.history.pop(at.scope, session_id)
            taken = [] if last is None else [last]
    for entry in taken:
        tell_message(at.out, entry)
    if not taken:
        at.out.note("there was nothing to take")


@command(group, "clear")
async def clear(
    at: Place,
    session_id: _Id,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove all messages of a session for good, keeping the session."""
    confirm(f"Remove all messages of {session_id} for good?", yes=yes)
    async with at.keeping() as keeping:
        session = await keeping.history.clear(at.scope, session_id)
    if at.out.as_json:
        at.out.document(session_json(at.scope, session))
    else:
        at.out.line(f"{session.id}: all messages are removed; the next one is #{session.last_seq + 1}")
