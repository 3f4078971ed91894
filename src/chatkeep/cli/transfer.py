"""The commands `chatkeep export` and `chatkeep import`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from chatkeep.cli.output import Output, progress
from chatkeep.cli.place import Place, command
from chatkeep.cli.sessions import walk
from chatkeep.domain.errors import Invalid
from chatkeep.domain.pages import SessionFilter
from chatkeep.services.jsonl import MAX_LINE_BYTES
from chatkeep.services.transfer import ImportProgress, ImportReport

if TYPE_CHECKING:
    from chatkeep.bootstrap import Keeping

group = typer.Typer()

STDIO = "-"
_BOM = b"\xef\xbb\xbf"
_COUNTS = ("created", "continued", "unchanged", "conflict", "invalid", "messages")


@command(group, "export")
async def export(
    at: Place,
    session_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION…]", help="Ids; else all sessions.")
    ] = None,
    *,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to; - is stdout.")] = STDIO,
    kind: Annotated[
        Literal["jsonl", "markdown"], typer.Option("--format", help="Lines to import, or a text.")
    ] = "jsonl",
) -> None:
    """Write sessions with all their messages: JSON Lines, or Markdown of the active path."""
    to_file = output != STDIO
    if at.out.as_json and kind == "markdown" and not to_file:
        raise Invalid("Markdown is no JSON; with --json write it to a file with -o FILE", field="format")
    written = 0
    async with at.keeping() as keeping:
        pieces = _lines(at, keeping, session_ids) if kind == "jsonl" else _markdown(at, keeping, session_ids)
        with _sink(output, at.out) as write, progress("exporting") as tell:
            async for piece in pieces:
                write(piece)
                written += 1
                tell(written)
    if to_file and at.out.as_json:
        at.out.document({"file": output, "format": kind, "pieces": written})
    elif to_file:
        at.out.note(f"written to {output}: {written} {'lines' if kind == 'jsonl' else 'pieces'}")


async def _lines(at: Place, keeping: Keeping, session_ids: list[str] | None) -> AsyncIterator[str]:
    async for line in keeping.transfer.export(at.scope, session_ids or None):
        yield line + "\n"


async def _markdown(at: Place, keeping: Keeping, session_ids: list[str] | None) -> AsyncIterator[str]:
    if not session_ids:
        listed = walk(keeping.sessions, at.scope, SessionFilter(include_archived=True), most=None)
        session_ids = [session.id async for session in listed]
    for session_id in session_ids:
        async for piece in keeping.transfer.export_markdown(at.scope, session_id):
            yield piece


@contextmanager
def _sink(output: str, out: Output) -> Iterator[Callable[[str], object]]:
    """Yield what writes; a file appears under its name when it is complete. Raises Invalid for one that cannot be."""
    if output == STDIO:
        yield out.raw
        return
    target = Path(output)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = part.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise Invalid(f"{output!r} cannot be written: {error.strerror}", field="output") from error
    try:
        with file:
            yield file.write
        part.replace(target)
    except OSError as error:
        raise Invalid(f"{output!r} cannot be written: {error.strerror}", field="output") from error
    finally:
        part.unlink(missing_ok=True)


@command(group, "import")
async def import_files(
    at: Place,
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="JSON Lines; - is stdin.")],
    *,
    session_id: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="Where messages without a session go.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would happen.")] = False,
) -> None:
    """Bring in exports, or files of one message a line; what is there already is left alone.

    Ends with exit code 1 when something was invalid or in conflict; the rest is imported all the same.
    """
    reports: list[tuple[str, ImportReport]] = []
    for name in files:
        if name != STDIO and not os.access(name, os.R_OK):
            raise Invalid(f"{name!r} cannot be read; nothing was imported", field="files")
    async with at.keeping() as keeping:
        for name in files:
            with _opened(name) as file, progress(f"importing {name}") as tell:
                report = await keeping.transfer.import_lines(
                    at.scope,
                    _decoded(file, name, at.out),
                    session_id=session_id,
                    dry_run=dry_run,
                    progress=_teller(tell),
                )
            reports.append((name, report))
            if at.out.as_json:
                at.out.document(_report_json(name, report))
    if not at.out.as_json:
        _tell(at.out, reports, dry_run=dry_run)
    if any(report.invalid or report.conflict for _, report in reports):
        raise typer.Exit(1)


def _teller(tell: Callable[[int], None]) -> Callable[[ImportProgress], None]:
    return lambda progressed: tell(progressed.lines)


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == STDIO:
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 -- closed below; only the opening may fail in this way
    except OSError as error:
        raise Invalid(f"{name!r} cannot be read: {error.strerror}", field="files") from error
    with file:
        yield file


def _decoded(file: IO[bytes], name: str, out: Output) -> Iterator[str]:
    """Yield the lines; one that is too long or not UTF-8 comes as what the import counts as invalid."""
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            rest = line
            while len(line) > MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
            if number == 1:
                line = line.removeprefix(_BOM)
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                out.note(f"{name}, line {number}: not UTF-8 (byte {error.start})")
                yield "not UTF-8"
    except OSError as error:
        raise Invalid(f"{name!r} cannot be read: {error.strerror}", field="files") from error


def _report_json(name: str, report: ImportReport) -> dict[str, object]:
    items = [
        {"session_id": item.session_id, "outcome": item.outcome, "messages": item.messages_added, "reason": item.reason}
        for item in report.items
    ]
    counts = {count: getattr(report, count) for count in ("lines", *_COUNTS)}
    return {"file": name, "dry_run": report.dry_run, **counts, "items": items}


def _tell(out: Output, reports: list[tuple[str, ImportReport]], *, dry_run: bool) -> None:
    out.table(("file", *_COUNTS), [(name, *(str(getattr(report, c)) for c in _COUNTS)) for name, report in reports])
    for name, report in reports:
        for item in report.items:
            if item.reason:
                out.note(f"{name}: {item.outcome}: {item.session_id or '(no session)'}: {item.reason}")
    if dry_run:
        out.note("a dry run: nothing was written")
