"""Statements and migrations in files."""

from __future__ import annotations

import pytest

from chatkeep.stores.sql import load_migrations, load_queries, parse_queries

PACKAGE = "chatkeep.stores.sqlite"


def test_statements_are_found_by_name_without_their_semicolon() -> None:
    queries = parse_queries("-- A file.\n\n-- one: The first.\nSELECT 1;\n\n-- two: The second.\nSELECT 2,\n  3;\n")

    assert queries == {"one": "SELECT 1", "two": "SELECT 2,\n  3"}


def test_a_statement_may_use_an_earlier_one() -> None:
    queries = parse_queries("-- columns: Names.\na, b;\n-- all: Rows.\nSELECT {columns} FROM t;\n")

    assert queries["all"] == "SELECT a, b FROM t"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-- one: A.\nSELECT 1;\n-- one: B.\nSELECT 2;\n", "twice"),
        ("-- one: A.\nSELECT {two};\n-- two: B.\nSELECT 2;\n", "not defined above"),
        ("SELECT 1;\n-- one: A.\nSELECT 1;\n", "outside"),
    ],
)
def test_a_file_that_is_not_in_order_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_queries(text)


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [step.number for step in load_migrations(PACKAGE)] == [1]


def test_every_statement_of_the_store_is_described() -> None:
    assert len(load_queries(PACKAGE)) > 50
