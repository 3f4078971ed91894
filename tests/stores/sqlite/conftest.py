"""A store on a file of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file."""
    return tmp_path / "chats.db"


@pytest.fixture
def clock() -> FakeClock:
    """Give the clock of the store."""
    return FakeClock()


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """Give an open store."""
    opened = await open_sqlite(path, clock=clock)
    yield opened
    await opened.close()
