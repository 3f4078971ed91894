"""The commands `chatkeep sessions …`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import typer

from chatkeep.cli.documents import session_json
from chatkeep.cli.output import Output, confirm, moment_text
from chatkeep.cli.place import Place, command
from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import MAX_LIST
from chatkeep.domain.messages import JsonValue
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionPatch, SettableState
from chatkeep.services.sessions import SessionService

group = typer.Typer(help="List, create, change and remove sessions.", no_args_is_help=True)

State = Literal["active", "pinned", "unpinned", "archived", "trashed"]

_Id = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
_Ids = Annotated[list[str], typer.Argument(metavar="SESSION…", help="One or more ids of sessions.")]
_COLUMNS = ("id", "title", "state", "messages", "last activity")


@command(group, "list")
async def list_sessions(
    at: Place,
    *,
    state: Annotated[State | None, typer.Option(help="Only sessions in this state.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived sessions too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
) -> None:
    """List sessions: pinned ones first, then the latest activity first."""
    where = SessionFilter(state=state, include_archived=archived)
    async with at.keeping() as keeping:
        if at.out.as_json:
            async for session in walk(keeping.sessions, at.scope, where, most=None if everything else limit):
                at.out.document(session_json(at.scope, session))
            return
        most = None if everything else limit + 1
        found = [session async for session in walk(keeping.sessions, at.scope, where, most=most)]
    at.out.table(_COLUMNS, [row(session) for session in (found if everything else found[:limit])])
    if not found:
        at.out.note("no sessions here; `chatkeep chat` begins one")
    elif len(found) > limit and not everything:
        at.out.note(f"the first {limit}; --limit or --all shows more")


async def walk(
    sessions: SessionService, scope: Scope, where: SessionFilter, *, most: int | None
) -> AsyncIterator[Session]:
    """Yield listed sessions page by page, up to `most`."""
    after: SessionPosition | None = None
    left = most
    while left is None or left > 0:
        page = await sessions.list(scope, where, limit=MAX_LIST if left is None else min(left, MAX_LIST), after=after)
        for session in page.items:
            yield session
        if page.next is None:
            return
        after = page.next
        left = None if left is None else left - len(page.items)


def row(session: Session) -> tuple[str, ...]:
    """Return the cells of a session in a list."""
    title = session.title or "(no title)"
    return session.id, title, session.state, str(session.message_count), moment_text(session.modified_at)


@command(group, "show")
async def show(at: Place, session_id: _Id) -> None:
    """Show one session, also one in the trash."""
    async with at.keeping() as keeping:
        _tell(at, await keeping.sessions.get(at.scope, session_id, include_trashed=True))


@command(group, "new")
async def new(
    at: Place,
    session_id: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="Its id; else one is made.")] = None,
    title: Annotated[str, typer.Option(help="Its title.")] = "",
    metadata: Annotated[str, typer.Option(metavar="JSON", help="A JSON object of your own values.")] = "{}",
) -> None:
    """Create an empty session and print its id."""
    values = _object(metadata)
    async with at.keeping() as keeping:
        session = await keeping.sessions.create(at.scope, session_id, title=title, metadata=values)
    if at.out.as_json:
        at.out.document(session_json(at.scope, session))
    else:
        at.out.line(session.id)


def _object(text: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid(f"--metadata is not JSON: {error}", field="metadata") from error
    if not isinstance(value, dict):
        raise Invalid('--metadata must be a JSON object, such as \'{"project": "x"}\'', field="metadata")
    return value


@command(group, "rename")
async def rename(at: Place, session_id: _Id, title: Annotated[str, typer.Argument(metavar="TITLE")]) -> None:
    """Give a session a title, which no automatic one replaces."""
    async with at.keeping() as keeping:
        _tell(at, await keeping.sessions.update(at.scope, session_id, SessionPatch(title=title)))


@command(group, "pin")
async def pin(at: Place, session_ids: _Ids) -> None:
    """Keep sessions at the top of the list."""
    await _put_into(at, session_ids, "pinned")


@command(group, "unpin")
async def unpin(at: Place, session_ids: _Ids) -> None:
    """Let pinned sessions go back to their places."""
    await _put_into(at, session_ids, "unpinned")


@command(group, "archive")
async def archive(at: Place, session_ids: _Ids) -> None:
    """Hide sessions from the list, keeping everything."""
    await _put_into(at, session_ids, "archived")


@command(group, "unarchive")
async def unarchive(at: Place, session_ids: _Ids) -> None:
    """Show archived sessions in the list again."""
    await _put_into(at, session_ids, "active")


async def _put_into(at: Place, session_ids: list[str], state: SettableState) -> None:
    async with at.keeping() as keeping:
        for session_id in session_ids:
            _tell(at, await keeping.sessions.update(at.scope, session_id, SessionPatch(state=state)))


@command(group, "delete")
async def delete(at: Place, session_ids: _Ids) -> None:
    """Put sessions into the trash."""
    async with at.keeping() as keeping:
        for session_id in session_ids:
            session = await keeping.sessions.delete(at.scope, session_id)
            _tell(at, session)
            if not at.out.as_json:
                until = moment_text(session.trash_until)
                at.out.note(f"until {until} `chatkeep sessions restore {session_id}` brings it back")


@command(group, "restore")
async def restore(at: Place, session_ids: _Ids) -> None:
    """Take sessions out of the trash."""
    async with at.keeping() as keeping:
        for session_id in session_ids:
            _tell(at, await keeping.sessions.restore(at.scope, session_id))


@command(group, "purge")
async def purge(
    at: Place,
    session_ids: _Ids,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove sessions for good, with everything in them."""
    confirm(f"Remove {', '.join(session_ids)} for good?", yes=yes)
    async with at.keeping() as keeping:
        for session_id in session_ids:
            receipt = await keeping.sessions.purge(at.scope, session_id)
            tell_removed(at.out, session_id, receipt.removed)


def tell_removed(out: Output, session_id: str, removed: dict[str, int]) -> None:
    """Write a receipt."""
    if out.as_json:
        out.document({"id": session_id, "removed": removed})
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in removed.items() if count)
    out.line(f"{session_id}: removed {counts or 'nothing'}")


@command(group, "fork")
async def fork(
    at: Place,
    session_id: _Id,
    at_seq: Annotated[
        int | None, typer.Option("--at", metavar="SEQ", min=1, help="Up to this message; else all.")
    ] = None,
    new_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The copy's id; else one is made.")] = None,
    title: Annotated[str | None, typer.Option(help="The copy's title; else the original's.")] = None,
) -> None:
    """Copy a session's active path into a session of its own."""
    async with at.keeping() as keeping:
        _tell(at, await keeping.fork.fork(at.scope, session_id, at_seq=at_seq, new_id=new_id, title=title))


def _tell(at: Place, session: Session) -> None:
    if at.out.as_json:
        at.out.document(session_json(at.scope, session))
        return
    at.out.record(
        {
            "id": session.id,
            "title": session.title,
            "state": session.state,
            "messages": session.message_count,
            "last seq": session.last_seq,
            "created": moment_text(session.created_at),
            "last activity": moment_text(session.modified_at),
            "expires": moment_text(session.expires_at),
            "in the trash until": moment_text(session.trash_until),
            "answering": session.active_run_id,
            "metadata": "" if session.metadata_json == "{}" else session.metadata_json,
        }
    )
