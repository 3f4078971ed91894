"""What a command says: results on stdout, for people or as JSON, and messages on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

import typer

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import JsonValue

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(text: str) -> str:
    """Return stored text as a terminal may get it: control characters, which could steer it, become pictures."""
    return _CONTROL.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found.group())
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"  # noqa: PLR2004 -- the C0 controls


def one_line(text: str) -> str:
    """Return `text` for a cell: on one line."""
    return " ".join(shown(text).split())


def bold(text: str) -> str:
    """Return `text` emphasised, where stdout is a terminal that can."""
    can = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[1m{text}\x1b[0m" if can else text


def moment_text(moment: datetime | None) -> str:
    """Return a time of this machine's zone, to the minute."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


class Output:
    """Where a command's results go. With `as_json` nothing but JSON gets to stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, value: JsonValue) -> None:
        """Write one JSON document on one line."""
        _put(sys.stdout, json.dumps(value, ensure_ascii=not _speaks(sys.stdout, value)) + "\n")

    def line(self, text: str = "") -> None:
        """Write a line for people."""
        _put(sys.stdout, shown(text) + "\n")

    def write(self, text: str) -> None:
        """Write a piece of text for people, at once."""
        _put(sys.stdout, shown(text))
        sys.stdout.flush()

    def raw(self, text: str) -> None:
        """Write text as it is: an export."""
        _put(sys.stdout, text)

    def flush(self) -> None:
        """Let what was written so far be seen."""
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Write a message to stderr, whatever goes to stdout."""
        _put(sys.stderr, shown(text) + "\n")
        sys.stderr.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table; where no terminal is, the rows alone, with tabs between the cells."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            for row in cells:
                _put(sys.stdout, "\t".join(row) + "\n")
            return
        from rich.console import Console  # noqa: PLC0415 -- for terminals only
        from rich.table import Table  # noqa: PLC0415 -- the same
        from rich.text import Text  # noqa: PLC0415 -- the same

        table = Table(box=None, pad_edge=False, header_style="bold")
        for at, column in enumerate(columns):
            table.add_column(column, no_wrap=at == 0, overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        Console(file=sys.stdout).print(table)

    def record(self, facts: Mapping[str, object]) -> None:
        """Write names and values, one a line; without a value, not at all."""
        wide = max(map(len, facts), default=0)
        for name, value in facts.items():
            if value not in (None, ""):
                self.line(f"{name:<{wide}}  {value}")


def _speaks(stream: TextIO, value: JsonValue) -> bool:
    """Return whether the stream's encoding has every character of the value."""
    try:
        json.dumps(value, ensure_ascii=False).encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _put(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(encoding, errors="replace").decode(encoding))


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if `yes` was given or the person at the terminal agrees."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid(f"{question} Nobody is there to ask; add --yes")
    typer.confirm(shown(question), abort=True, err=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the block works, if a terminal is there; yields what takes how much is done."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console  # noqa: PLC0415 -- for terminals only
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 -- the same

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
