from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from chatkeep import bootstrap
from chatkeep.bootstrap import (
    Models,
    OpenedStore,
    cursor_secret,
    open_store,
    register_store,
    running,
    sqlite_path,
    store_schemes,
)
from chatkeep.domain.errors import Invalid, NotSupported, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.models.echo import EchoModel
from chatkeep.ports.clock import Clock
from chatkeep.services.chat import ChatRequest
from chatkeep.settings import Settings
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("default", "default", "alice")


@pytest.fixture(autouse=True)
def engines() -> Iterator[None]:
    """Forget after the test what it registered."""
    before = dict(bootstrap._openers)
    yield
    bootstrap._openers.clear()
    bootstrap._openers.update(before)


def settings(**given: object) -> Settings:
    return Settings.model_validate({"store_url": "memory://", "model": "echo", **given})


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
        "from chatkeep.bootstrap import OpenedStore\n"
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


async def test_a_running_application_answers_and_closes_everything() -> None:
    async with running(settings(echo_words_per_second=0)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
        events = [event async for event in app.chat.follow(ALICE, run.id)]
        store = app.keeping.opened.store

    assert events[-1].data["status"] == "complete"
    assert app.notice is None
    with pytest.raises(Unavailable):
        await store.ping()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_answers_under_way_are_kept_before_the_store_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chats.db"
    async with running(settings(store_url=url, echo_words_per_second=20)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="word " * 200))
        async for event in app.chat.follow(ALICE, run.id):
            if event.type == "delta":
                break

    async with running(settings(store_url=url)) as app:
        assert (await app.chat.get(ALICE, run.id)).status == "interrupted"
        statuses = [entry.status for entry in await app.keeping.history.read(ALICE, "s") if hasattr(entry, "status")]
    assert statuses == ["interrupted", "complete"]


async def test_each_run_that_ends_is_reported() -> None:
    ended: list[str] = []

    async with running(settings(echo_words_per_second=0), on_run_end=lambda run: ended.append(run.id)) as app:
        run = await app.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
        _ = [event async for event in app.chat.follow(ALICE, run.id)]

    assert ended == [run.id]


@pytest.mark.parametrize(
    "given",
    [
        {"model": "eliza"},
        {"models": ("echo", "eliza")},
        {"agents": [{"name": "a", "model": "eliza"}]},
        {"store_url": "carrier://pigeon"},
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start_and_leaves_nothing_open(
    given: dict[str, object],
) -> None:
    with pytest.raises(Invalid):
        async with running(settings(**given)):
            raise AssertionError

    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_settings_reach_what_they_are_for() -> None:
    given = settings(
        retention="platform",
        session_ttl_days=3,
        models=("openai:tiny",),
        model_base_url="http://127.0.0.1:9/v1",
        agents=[{"name": "helper", "model": "openai:big", "instructions": "Help."}],
    )
    async with running(given) as app:
        session = await app.keeping.sessions.create(ALICE)

        assert app.models.names() == ("echo", "openai:tiny", "openai:big")
        assert [agent.name for agent in app.agents.configured()] == ["helper"]
        assert session.expires_at == session.created_at + timedelta(days=3)


def test_a_model_that_is_not_offered_is_refused_with_those_that_are() -> None:
    models = Models(EchoModel(0))

    assert models.get(None) is models.get("echo")
    with pytest.raises(Invalid, match="'gpt' cannot be chosen here; offered are echo"):
        models.get("gpt")


def test_the_key_of_cursors_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    given = settings(store_url=f"sqlite:///{tmp_path}/deep/chats.db")

    first, again = cursor_secret(given), cursor_secret(given)

    path = tmp_path / "deep" / "chats.cursor-key"
    assert first == again == path.read_bytes()
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["chats.cursor-key"]


def test_workers_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    for attempt in range(20):
        given = settings(store_url=f"sqlite:///{tmp_path}/{attempt}/chats.db")
        with ThreadPoolExecutor(8) as workers:
            keys = set(workers.map(lambda _: cursor_secret(given), range(8)))  # noqa: B023 -- ends within the turn

        assert len(keys) == 1
        assert len(keys.pop()) == 32


def test_a_key_file_without_a_key_is_never_used(tmp_path: Path) -> None:
    (tmp_path / "chats.cursor-key").touch()

    with pytest.raises(Invalid, match="remove it, and a new one is made"):
        cursor_secret(settings(store_url=f"sqlite:///{tmp_path}/chats.db"))


def test_the_setting_wins_and_another_store_gets_a_key_for_the_life_of_its_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert cursor_secret(settings(cursor_secret="s" * 32)) == b"s" * 32

    assert len(cursor_secret(settings())) == 32
    assert "CHATKEEP_CURSOR_SECRET" in caplog.text
