"""The library as its users meet it."""

from __future__ import annotations

import _thread
import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import chatkeep
from chatkeep import Chatkeep, Chats, Message, RetentionPolicies, RetentionPolicy, assistant, errors, user
from chatkeep.keep import BlockingChatkeep, BlockingChats


def public(owner: type) -> dict[str, inspect.Signature]:
    """Return the public methods of a class with the parameters that a caller gives."""
    found: dict[str, inspect.Signature] = {}
    for name, method in inspect.getmembers(owner, inspect.isfunction):
        if not name.startswith("_"):
            signature = inspect.signature(method)
            parameters = list(signature.parameters.values())[1:]
            found[name] = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/chats.db"


async def test_a_conversation_is_kept_found_and_read_back(url: str) -> None:
    async with Chatkeep.open(url) as keep:
        chats = keep.for_user("alice", app="support")
        session = await chats.create(title="Refund")
        await chats.append(session.id, user("Where is my refund?"), assistant("On its way."))

    async with Chatkeep.open(url) as keep:
        chats = keep.for_user("alice", app="support")
        (found,) = (await chats.list()).items
        history = await chats.messages(found.id, last=20)

    assert found.title == "Refund"
    assert [(entry.role, entry.text) for entry in history if isinstance(entry, Message)] == [
        ("user", "Where is my refund?"),
        ("assistant", "On its way."),
    ]


async def test_every_call_of_the_library_does_what_it_says() -> None:
    async with Chatkeep.open("memory://") as keep:
        chats = keep.for_user("alice")
        await chats.ensure("s", metadata={"topic": "trip"})
        await chats.append_turn("s", "One?", "Yes.", idempotency_key="k")
        await chats.append_turn("s", "One?", "Yes.", idempotency_key="k")
        await chats.append("s", user("Two?"), parent_seq=0)

        assert [entry.seq for entry in await chats.messages("s")] == [3]
        assert [entry.seq for entry in await chats.messages("s", path="all")] == [1, 2, 3]
        await chats.select("s", 2)
        rated = await chats.rate("s", 2, "up")
        assert rated.feedback is not None
        assert (await chats.rate("s", 2, None)).feedback is None
        assert (await chats.message("s", 3)).seq == 3
        fork = await chats.fork("s", title="Copy")
        assert (await chats.update(fork.id, state="pinned")).pinned
        assert [session.id for session in (await chats.list(state="pinned")).items] == [fork.id]
        assert [session.id for session in (await chats.list(metadata={"topic": "trip"})).items]
        assert [message.text for _, message in (await chats.mine(role="user", limit=1)).items] == ["One?"]
        assert (await chats.search("yes")).items
        lines = [line async for line in chats.export(["s"])]
        assert (await keep.for_user("bob").import_lines(lines)).messages == 3
        assert [message.seq for message in await chats.pop_turn("s")] == [1, 2]
        assert await chats.pop("s") is None
        assert (await chats.redact("s", 1)).parts == ()
        assert (await chats.clear("s")).message_count == 0
        await chats.delete("s")
        assert await chats.find("s") is None
        assert (await chats.restore("s")).id == "s"
        assert (await chats.purge("s")).removed["sessions"] == 1
        assert (await keep.cleanup()).finished
        assert (await chats.erase()).removed["sessions"] == 1
        with pytest.raises(errors.NotFound):
            await chats.get(fork.id)


async def test_all_messages_come_in_order_however_many_there_are(url: str) -> None:
    async with Chatkeep.open(url) as keep:
        chats = keep.for_user("alice")
        for at in range(0, 2_000, 100):
            await chats.append("s", *[user(str(n)) for n in range(at, at + 100)], create=True)

        everything = await chats.messages("s")
        some = await chats.messages("s", last=3, before_seq=1_501)

    assert [entry.seq for entry in everything] == list(range(1, 2_001))
    assert [entry.seq for entry in some] == [1498, 1499, 1500]


async def test_other_users_apps_and_tenants_see_nothing(url: str) -> None:
    async with Chatkeep.open(url) as keep:
        await keep.for_user("alice").create("s")

        for other in (keep.for_user("bob"), keep.for_user("alice", app="b"), keep.for_user("alice", tenant="t")):
            assert await other.find("s") is None
            with pytest.raises(errors.NotFound):
                await other.append("s", user("Hi"))
        with pytest.raises(errors.Invalid):
            keep.for_user("")


@pytest.mark.parametrize(
    ("retention", "ttl"),
    [
        ("keep", None),
        ("platform", timedelta(days=7)),
        (RetentionPolicy(idle_ttl=timedelta(days=1)), timedelta(days=1)),
        (RetentionPolicies(by_app={"default": RetentionPolicy(idle_ttl=timedelta(days=2))}), timedelta(days=2)),
    ],
)
async def test_retention_is_a_preset_or_a_policy(
    retention: str | RetentionPolicy | RetentionPolicies, ttl: timedelta | None
) -> None:
    async with Chatkeep.open("memory://", retention=retention) as keep:
        session = await keep.for_user("alice").create()

    assert (session.expires_at and session.expires_at - session.created_at) == ttl


async def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(errors.Invalid, match="'forever' is none of keep, platform, agent"):
        async with Chatkeep.open("memory://", retention="forever"):
            raise AssertionError


async def test_a_closed_library_says_so() -> None:
    async with Chatkeep.open("memory://") as keep:
        chats = keep.for_user("alice")

    with pytest.raises(errors.Unavailable):
        await chats.create()


def test_the_blocking_library_has_the_same_calls_with_the_same_parameters() -> None:
    assert public(BlockingChats) == public(Chats)
    assert public(BlockingChatkeep).keys() == public(Chatkeep).keys() - {"open", "open_sync"}
    for name, signature in public(BlockingChatkeep).items():
        assert list(signature.parameters) == list(public(Chatkeep)[name].parameters)
    assert list(inspect.signature(Chatkeep.open_sync).parameters) == list(inspect.signature(Chatkeep.open).parameters)
    for name, method in inspect.getmembers(BlockingChats, inspect.isfunction):
        assert name.startswith("_") or method.__doc__, name


def test_the_blocking_library_keeps_a_conversation(url: str) -> None:
    with Chatkeep.open_sync(url) as keep:
        chats = keep.for_user("alice")
        session = chats.create(title="Refund")
        chats.append(session.id, user("Where?"), assistant("Here."))
        lines = list(chats.export())
        with pytest.raises(errors.NotFound):
            chats.get("nobody")

    with Chatkeep.open_sync(url) as keep:
        assert [entry.seq for entry in keep.for_user("alice").messages(session.id)] == [1, 2]
        assert keep.for_user("bob").import_lines(iter(lines)).created == 1
        assert keep.cleanup().finished


def test_the_blocking_library_serves_many_threads_at_once(url: str) -> None:
    with Chatkeep.open_sync(url) as keep, ThreadPoolExecutor(8) as threads:
        chats = keep.for_user("alice")
        chats.create("s")

        list(threads.map(lambda n: chats.append("s", user(str(n))), range(80)))

        assert sorted(int(m.text) for m in chats.messages("s") if isinstance(m, Message)) == list(range(80))


async def test_the_blocking_library_works_beside_a_running_event_loop() -> None:
    with Chatkeep.open_sync("memory://") as keep:
        assert keep.for_user("alice").create("s").id == "s"


def test_the_blocking_library_leaves_no_thread_and_no_loop_behind(url: str) -> None:
    before = threading.active_count()

    with Chatkeep.open_sync(url) as keep:
        keep.for_user("alice").create("s")
        assert threading.active_count() > before
    gc.collect()

    assert threading.active_count() == before


def test_an_export_that_is_not_read_to_its_end_leaves_nothing_behind(url: str) -> None:
    with Chatkeep.open_sync(url) as keep:
        chats = keep.for_user("alice")
        for n in range(3):
            chats.append(f"s{n}", user("Hi"), create=True)
        lines = iter(chats.export())
        next(lines)
        abandoned = iter(chats.export())
        next(abandoned)
        del lines
        gc.collect()

    del abandoned
    gc.collect()


def test_a_closed_blocking_library_says_so(url: str) -> None:
    with Chatkeep.open_sync(url) as keep:
        chats = keep.for_user("alice")

    with pytest.raises(errors.Unavailable, match="closed; open it again"):
        chats.create()
    with pytest.raises(errors.Unavailable):
        next(iter(chats.export()))


def test_a_store_that_cannot_be_opened_is_one_error_and_leaves_no_thread() -> None:
    before = threading.active_count()

    with pytest.raises(errors.Invalid, match="carrier"), Chatkeep.open_sync("carrier://pigeon"):
        raise AssertionError

    assert threading.active_count() == before


def test_a_callback_that_waits_for_the_library_is_refused_and_does_not_hang() -> None:
    with Chatkeep.open_sync("memory://") as keep:
        chats = keep.for_user("alice")
        chats.append("s", user("Hi"), create=True)
        lines = list(chats.export())

        with pytest.raises(errors.NotSupported, match="callback"):
            keep.for_user("bob").import_lines(lines, progress=lambda _progress: print(chats.find("s")))  # noqa: T201


def test_an_interrupt_ends_the_wait_and_leaves_the_library_usable(url: str) -> None:
    def slow() -> Iterator[str]:
        started.set()
        time.sleep(1)
        yield from ()

    def interrupt() -> None:
        started.wait(5)
        time.sleep(0.1)
        _thread.interrupt_main()

    started = threading.Event()
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with Chatkeep.open_sync(url) as keep:
        chats = keep.for_user("alice")

        with pytest.raises(KeyboardInterrupt):
            chats.import_lines(slow())

        assert chats.create("s").id == "s"
    interrupter.join()


@pytest.mark.parametrize(
    "module", ["pydantic", "fastapi", "typer", "apsw", "aiobotocore", "openai", "anthropic", "ollama", "httpx"]
)
def test_importing_the_library_imports_no_driver_and_no_framework(module: str) -> None:
    assert module not in _imported()


@functools.cache
def _imported() -> frozenset[str]:
    source = str(Path(chatkeep.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {source!r}); import chatkeep; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


BARE = """
import sys


class Refuse:
    known = {*sys.stdlib_module_names, "chatkeep", "apsw", "platformdirs"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.known:
            raise ImportError(f"{name} is no dependency of the library")


sys.meta_path.insert(0, Refuse())
from chatkeep import Chatkeep, assistant, user

with Chatkeep.open_sync("sqlite:///" + sys.argv[1]) as keep:
    chats = keep.for_user("alice")
    chats.append("s", user("Where is my chair?"), assistant("On its way."), create=True)
    assert chats.context("s", "And the lamp?", budget_tokens=1_000).messages
    assert chats.search("chair").items
    lines = list(chats.export())
    chats.fork("s")
    chats.purge("s")
    chats.import_lines(lines)
    keep.cleanup()
"""


def test_the_library_on_sqlite_needs_nothing_but_its_own_dependencies(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BARE, str(tmp_path / "chats.db")], check=True)


async def test_cancelling_a_caller_leaves_the_library_usable(url: str) -> None:
    async with Chatkeep.open(url) as keep:
        chats = keep.for_user("alice")
        await chats.create("s")
        calls = [asyncio.create_task(chats.append("s", user(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)

        stored = await chats.messages("s")
        assert len(stored) >= sum(not isinstance(result, BaseException) for result in done)
        assert [entry.seq for entry in stored] == list(range(1, len(stored) + 1))
