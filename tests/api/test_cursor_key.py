"""The key that signs page cursors."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatkeep.api.cursor_key import cursor_secret
from chatkeep.domain.errors import Invalid
from chatkeep.settings import Settings


def _settings(**given: object) -> Settings:
    return Settings.model_validate({"store_url": "memory://", "model": "echo", **given})


def test_the_key_of_cursors_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    given = _settings(store_url=f"sqlite:///{tmp_path}/deep/chats.db")

    first, again = cursor_secret(given), cursor_secret(given)

    path = tmp_path / "deep" / "chats.cursor-key"
    assert first == again == path.read_bytes()
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["chats.cursor-key"]


def test_workers_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    for attempt in range(20):
        given = _settings(store_url=f"sqlite:///{tmp_path}/{attempt}/chats.db")
        with ThreadPoolExecutor(8) as workers:
            keys = set(workers.map(lambda _: cursor_secret(given), range(8)))  # noqa: B023 -- ends within the turn

        assert len(keys) == 1
        assert len(keys.pop()) == 32


def test_a_key_file_without_a_key_is_never_used(tmp_path: Path) -> None:
    (tmp_path / "chats.cursor-key").touch()

    with pytest.raises(Invalid, match="remove it, and a new one is made"):
        cursor_secret(_settings(store_url=f"sqlite:///{tmp_path}/chats.db"))


def test_the_setting_wins_and_another_store_gets_a_key_for_the_life_of_its_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert cursor_secret(_settings(cursor_secret="s" * 32)) == b"s" * 32

    assert len(cursor_secret(_settings())) == 32
    assert "CHATKEEP_CURSOR_SECRET" in caplog.text
