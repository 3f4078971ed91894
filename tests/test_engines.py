"""Engines, found by the URL of a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatkeep import engines
from chatkeep.domain.errors import Invalid, NotSupported
from chatkeep.engines import OpenedStore, open_store, register_store, sqlite_path, store_schemes
from chatkeep.ports.clock import Clock
from chatkeep.stores.memory import MemoryStore


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Forget after the test what it registered."""
    before = dict(engines._openers)
    yield
    engines._openers.clear()
    engines._openers.update(before)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///chats.db", "chats.db"),
        ("sqlite:///./data/chats.db", "data/chats.db"),
        ("sqlite:////var/lib/chats.db", "/var/lib/chats.db"),
        ("SQLITE:///chats.db", "chats.db"),
        ("sqlite:///my%20chats%23%3F.db", "my chats#?.db"),
        ("sqlite:///mine and äöü.db", "mine and äöü.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite://chats.db",
        "sqlite://host/chats.db",
        "sqlite:chats.db",
        "sqlite:///folder/",
        "sqlite:///chats.db?mode=ro",
        "sqlite:///chats#1.db",
        "sqlite:///a%00b",
        "sqlite:///:memory:",
    ],
)
async def test_a_url_that_names_no_file_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(Invalid, match=r"write (sqlite:///chats\.db|memory://)"):
        await open_store(url)


@pytest.mark.parametrize("url", ["mysql://u:hunter2@host/db", "chats.db", "", "http://[::1", "/var/chats.db"])
async def test_an_unknown_engine_is_refused_with_the_known_ones_and_no_secret(url: str) -> None:
    with pytest.raises(Invalid, match=r"known are .*dynamodb:, .*memory:, .*sqlite:") as refused:
        await open_store(url)

    assert "hunter2" not in str(refused.value)


async def test_the_memory_store_takes_no_options() -> None:
    opened = await open_store("memory://")
    await opened.store.close()

    with pytest.raises(Invalid, match="memory://"):
        await open_store("memory://big")


async def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chatkeep.stores.dynamodb", None)

    with pytest.raises(NotSupported, match=r"pip install 'chatkeep\[dynamodb\]'"):
        await open_store("dynamodb://eu-west-1")


async def test_an_engine_of_ones_own_is_opened_by_its_scheme() -> None:
    seen: list[tuple[str, bool]] = []

    @register_store("My_Engine")
    async def _open(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
        seen.append((url, migrate))
        store = MemoryStore(clock)
        return OpenedStore(store, store)

    opened = await open_store("my_engine://here?a=1", migrate=False)
    await opened.store.close()

    assert seen == [("my_engine://here?a=1", False)]
    assert "my_engine" in store_schemes()


async def test_an_engine_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[chatkeep.stores]\ncarrier = carrier_pigeon:open_pigeon\n")
    (tmp_path / "carrier_pigeon.py").write_text(
        "from chatkeep.engines import OpenedStore\n"
        "from chatkeep.stores.memory import MemoryStore\n"
        "async def open_pigeon(url, clock, *, migrate):\n"
        "    store = MemoryStore(clock)\n"
        "    return OpenedStore(store, store)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    opened = await open_store("carrier://pigeon")

    assert opened.store.engine == "memory"
    assert "carrier" in store_schemes()
    await opened.store.close()
