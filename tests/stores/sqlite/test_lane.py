"""The threads that work for event loops."""

from __future__ import annotations

import asyncio
import weakref
from pathlib import Path
from typing import Any

import pytest

from chatkeep.stores.sqlite import open_sqlite
from chatkeep.testing.calls import eventually


class _Told:
    """Something that a call returns."""


class _Asked:
    """A call that is more than a function."""

    def __call__(self, _context: Any) -> _Told:
        return _Told()


@pytest.mark.parametrize("name", ["_reader", "_writer"])
async def test_an_idle_thread_holds_nothing_of_its_last_call(tmp_path: Path, name: str) -> None:
    store = await open_sqlite(tmp_path / "chats.db")
    asked = _Asked()
    told = await getattr(store, name).call(asked)
    held = [weakref.ref(asked), weakref.ref(told)]
    del asked, told

    async def left() -> int:
        return sum(ref() is not None for ref in held)

    assert await eventually(left, lambda count: count == 0) == 0
    await asyncio.wait_for(store.close(), 5)
