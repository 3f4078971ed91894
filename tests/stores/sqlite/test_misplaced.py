"""Files that are taken away from under an open store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.testing.calls import say, texts


def _remove_log(file: Path) -> None:
    file.with_name(f"{file.name}-wal").unlink()


def _replace(file: Path) -> None:
    copy = file.with_name("copy.db")
    shutil.copy(file, copy)
    copy.rename(file)


def _move_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))


@pytest.mark.parametrize("take_away", [Path.unlink, _replace, _remove_log, _move_folder])
async def test_nothing_is_acknowledged_into_a_file_that_is_not_there_any_more(
    take_away: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "place" / "chats.db"
    store = await open_sqlite(file)
    await say(store, "before")
    await store.ping()
    take_away(file)

    with pytest.raises(Unavailable, match="moved, replaced or removed"):
        await say(store, "after")
    with pytest.raises(Unavailable, match="moved, replaced or removed"):
        await store.ping()
    await store.close()


async def test_a_file_that_is_put_back_is_written_to_again(tmp_path: Path) -> None:
    file = tmp_path / "chats.db"
    store = await open_sqlite(file)
    await say(store, "before")
    file.rename(tmp_path / "elsewhere.db")
    with pytest.raises(Unavailable):
        await say(store, "meanwhile")
    (tmp_path / "elsewhere.db").rename(file)

    await say(store, "after")

    said = await texts(store)
    assert (said[0], said[-1]) == ("before", "after")
    await store.close()


async def test_a_link_to_the_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "chats.db"
    link.symlink_to(tmp_path / "real" / "chats.db")
    store = await open_sqlite(link)

    await say(store, "through a link")

    assert await texts(store) == ["through a link"]
    await store.close()
