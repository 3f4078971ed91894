"""SQL in files: named statements, and migrations that only go forward.

A file of statements holds, one after the other, `-- name: what it does` on a line of its own and the statement, which
ends with a semicolon at the end of a line. `{name}` inside a statement stands for the text of an earlier one. A folder
of migrations holds `0001_name.sql`, `0002_name.sql` … without gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

_NAME = re.compile(r"^-- ([a-z][a-z0-9_]*): \S.*$")
_USE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MIGRATION = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")


class Migration(NamedTuple):
    """One step of the schema: it leads to version `number`."""

    number: int
    name: str
    sql: str


def parse_queries(text: str) -> dict[str, str]:
    """Return the statements of a file by name. Raises ValueError for a name that comes twice or is not defined above
    its use, and for text outside of a statement.
    """
    found: dict[str, list[str]] = {}
    body: list[str] | None = None
    for line in text.splitlines():
        header = _NAME.match(line)
        if header is not None:
            if header[1] in found:
                raise ValueError(f"the statement {header[1]!r} is defined twice")
            body = found.setdefault(header[1], [])
        elif not line.startswith("--") and line.strip():
            if body is None:
                raise ValueError(f"{line!r} stands outside of a statement")
            body.append(line)
    queries: dict[str, str] = {}
    for name, lines in found.items():
        statement = "\n".join(lines).removesuffix(";")
        unknown = [used for used in _USE.findall(statement) if used not in queries]
        if unknown:
            raise ValueError(f"{name!r} uses {unknown[0]!r}, which is not defined above it")
        queries[name] = _USE.sub(lambda use: queries[use[1]], statement)
    return queries


def load_queries(package: str) -> Mapping[str, str]:
    """Return the statements of `queries.sql` in the package."""
    return parse_queries(files(package).joinpath("queries.sql").read_text("utf-8"))


def load_migrations(package: str) -> list[Migration]:
    """Return the migrations in the package's folder `migrations`, in order. Raises ValueError if one is missing."""
    folder = files(package).joinpath("migrations")
    found = sorted(
        Migration(int(match[1]), match[2], entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if (match := _MIGRATION.match(entry.name))
    )
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {package} are not numbered 1, 2, 3 …: {[step.number for step in found]}")
    return found
