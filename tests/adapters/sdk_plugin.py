"""A pytest plug-in for the OpenAI Agents SDK's own tests: its SQLite sessions become Chatkeep's, no file is edited.

CHATKEEP_SDK_REPORT names a file for the outcome of each test and whether it made one of our sessions,
CHATKEEP_SDK_EXCLUDED one with the tests to leave out. With CHATKEEP_SDK_FAULT=lossy the sessions lose the last item
of every batch, to show that the tests notice.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from chatkeep.adapters.openai_agents import ChatkeepSession

_folders: list[tempfile.TemporaryDirectory[str]] = []
_open: list[ChatkeepSession] = []
_outcomes: dict[str, str] = {}
_ours: set[str] = set()
_current = ""


def _file() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="chatkeep")
    _folders.append(folder)
    return Path(folder.name, "chats.db")


class SQLiteSession(ChatkeepSession):
    """The SDK's constructor: a path, `:memory:` by default, that is, a database of one's own."""

    def __init__(
        self,
        session_id: str,
        db_path: str | Path = ":memory:",
        _sessions_table: str = "",
        _messages_table: str = "",
        session_settings: Any = None,
    ) -> None:
        _ours.add(_current)
        path = _file() if str(db_path) == ":memory:" else Path(db_path)
        super().__init__(session_id, f"sqlite:///{path}", session_settings=session_settings)
        _open.append(self)

    if os.environ.get("CHATKEEP_SDK_FAULT") == "lossy":

        async def add_items(self, items: list[Any], *, idempotency_key: str | None = None) -> None:
            """Lose the last item."""
            await super().add_items(items[:-1], idempotency_key=idempotency_key)


class AsyncSQLiteSession(SQLiteSession):
    """The same, with the name of the SDK's other class."""


class AdvancedSQLiteSession(SQLiteSession):
    """The constructor of the SDK's third class; what else that offers beside sessions is not here."""

    def __init__(self, *, create_tables: bool = False, **options: Any) -> None:
        assert create_tables in {True, False}  # there is nothing to create: Chatkeep's tables are always there
        options.pop("logger", None)
        super().__init__(**options)


class SimpleListSession(SQLiteSession):
    """The helper of the SDK's tests, which may begin with a history."""

    def __init__(self, session_id: str = "test", history: list[Any] | None = None) -> None:
        super().__init__(session_id)
        self._ignore_ids_for_matching = False
        if history:
            self._open().loop.run(lambda: SQLiteSession.add_items(self, history))

    @property
    def saved_items(self) -> list[Any]:
        """What is stored."""
        return self._open().loop.run(lambda: SQLiteSession.get_items(self))


def pytest_configure() -> None:
    """Swap the classes, before any test module imports them."""
    for name, places in {
        "SQLiteSession": ("agents", "agents.memory", "agents.memory.sqlite_session"),
        "AsyncSQLiteSession": ("agents.extensions.memory", "agents.extensions.memory.async_sqlite_session"),
        "AdvancedSQLiteSession": ("agents.extensions.memory", "agents.extensions.memory.advanced_sqlite_session"),
        "SimpleListSession": ("tests.utils.simple_session",),
    }.items():
        for place in places:
            setattr(importlib.import_module(place), name, globals()[name])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the list says; an entry that names no test is a mistake in it."""
    lines = Path(os.environ["CHATKEEP_SDK_EXCLUDED"]).read_text("utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    left_out = [item for item in items if listed & {item.nodeid, item.nodeid.partition("[")[0]}]
    unknown = listed - {name for item in left_out for name in (item.nodeid, item.nodeid.partition("[")[0])}
    if unknown and not config.getoption("keyword"):
        raise pytest.UsageError(f"these are excluded but do not exist: {sorted(unknown)}")
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note whose sessions are made from here on."""
    global _current  # noqa: PLW0603 -- pytest offers no other way to a constructor
    _current = nodeid


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the worst that became of a test."""
    if report.outcome != "passed" or report.when == "call":
        _outcomes.setdefault(report.nodeid, report.outcome)
        if report.failed:
            _outcomes[report.nodeid] = "failed"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Close what a test has left open."""
    while _open:
        _open.pop().close()
    while _folders:
        _folders.pop().cleanup()


def pytest_sessionfinish() -> None:
    """Write the report."""
    found = {test: [outcome, test in _ours] for test, outcome in _outcomes.items()}
    Path(os.environ["CHATKEEP_SDK_REPORT"]).write_text(json.dumps(found), "utf-8")
