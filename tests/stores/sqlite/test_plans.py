"""Statements find their rows through indexes, and lists come in order."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from chatkeep.domain.sessions import Session
from chatkeep.stores.sql import load_queries
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.stores.sqlite.schema import PACKAGE

QUERIES = load_queries(PACKAGE)
STATEMENTS = {name: sql for name, sql in QUERIES.items() if re.match(r"SELECT|UPDATE|DELETE|INSERT", sql)}
SORTS = {"search"}
"""Matches come in the order of the index, and are shown newest first."""
SCANS = {
    "some_grave",  # any row will do
    "some_unswept",  # a partial index is read from its beginning
    "some_search_due",  # the same
    "count_sessions",  # bounded by its limit
    "scopes_after",  # in the order of its index
    "index_everything",  # means all rows
    "index_nothing",  # the same
}


@pytest.fixture
async def db(path: Path) -> AsyncIterator[apsw.Connection]:
    """Give a connection to an empty database."""
    store = await open_sqlite(path)
    await store.close()
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


def _plan(db: apsw.Connection, name: str) -> list[str]:
    sql = STATEMENTS[name]
    numbered = re.findall(r"\?(\d)", sql)
    values = [None] * (int(max(numbered)) if numbered else sql.count("?"))
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_statement_neither_sorts_nor_scans_unless_it_says_why(db: apsw.Connection, name: str) -> None:
    plan = _plan(db, name)

    sorts = [step for step in plan if "TEMP B-TREE" in step]
    scans = [step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]
    assert not sorts or name in SORTS, plan
    assert not scans or name in SCANS, plan


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("list_state", "sessions_listed (scope=? AND state=? AND (modified_at_ms,id)<(?,?))"),
        ("gone_sessions", "sessions_by_end"),
        ("expired_runs", "runs_by_lease"),
        ("finished_runs", "runs_by_end"),
        ("search_due_of_scope", "sessions_search_due"),
        ("some_unswept", "sessions_unswept"),
    ],
)
def test_a_statement_uses_the_index_that_was_made_for_it(db: apsw.Connection, name: str, index: str) -> None:
    assert index in " ".join(_plan(db, name))


def test_the_columns_of_a_session_come_in_the_order_of_its_fields() -> None:
    columns = [name.strip().removeprefix("s.") for name in QUERIES["session_columns"].split(",")]

    assert columns == list(Session._fields)
