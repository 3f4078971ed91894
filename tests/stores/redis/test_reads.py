"""What a read sends and remembers: a record that this process knows is not decoded again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.stores.redis.conftest import Cluster, RedisHarness

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.sessions import Session, SessionPatch
from chatkeep.ports.clock import system_clock
from chatkeep.stores.records import session_from_json
from chatkeep.stores.redis import RedisStore
from chatkeep.stores.redis.wire import Value
from chatkeep.testing.calls import ALICE, say


class Calls:
    """Keeps the names of what a store asks of the server: functions, and `read` also for a read without one."""

    def __init__(self, store: RedisStore, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        by_function, at_once = store._function, store._at_once

        async def function(name: str, keys: Sequence[bytes], arguments: Sequence[Any], *, reads: bool = True) -> Any:
            self.names.append(name)
            return await by_function(name, keys, arguments, reads=reads)

        async def together(*commands: tuple[Value, ...]) -> list[Any] | None:
            found = await at_once(*commands)
            if found is not None:
                self.names.append("read")
            return found

        patch.setattr(store, "_function", function)
        patch.setattr(store, "_at_once", together)


def _texts(entries: Sequence[Message | Unreadable]) -> list[str]:
    return [entry.text for entry in entries if isinstance(entry, Message)]


async def test_an_append_behind_a_read_need_not_look_though_another_process_wrote_before(
    harness: RedisHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await harness.open(system_clock), await harness.open(system_clock)
    await say(one, "1", "2")
    calls = Calls(other, monkeypatch)

    assert _texts(await other.read(ALICE, "s", limit=9)) == ["1", "2"]
    await say(other, "3", create=None)
    await say(one, "4")  # what this process knows is not the last: it looks, and comes behind
    assert _texts(await other.read(ALICE, "s", limit=9)) == ["1", "2", "3", "4"]
    await say(other, "5", create=None)

    assert calls.names == ["read", "commit", "read", "commit"]
    assert _texts(await one.read(ALICE, "s", limit=9)) == ["1", "2", "3", "4", "5"]


async def test_a_record_that_is_known_is_not_decoded_again_and_a_newer_one_is(
    harness: RedisHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await harness.open(system_clock), await harness.open(system_clock)
    await say(one, "1")
    decoded: list[str] = []

    def decode(text: str | bytes) -> Session:
        session = session_from_json(text)
        decoded.append(session.title)
        return session

    monkeypatch.setattr("chatkeep.stores.redis.log.session_from_json", decode)

    await one.read(ALICE, "s", limit=9)
    assert decoded == []
    await other.update_session(ALICE, "s", SessionPatch(title="new"))
    await one.read(ALICE, "s", limit=9)
    assert decoded == ["new"]
    await one.read(ALICE, "s", limit=9)
    assert decoded == ["new"]
    await other.purge_session(ALICE, "s")
    with pytest.raises(NotFound):
        await one.read(ALICE, "s", limit=9)
    await say(other, "another one's first words")
    assert _texts(await one.read(ALICE, "s", limit=9)) == ["another one's first words"]


async def test_rows_that_something_lies_beside_and_those_that_are_missing_are_read_as_ever(
    harness: RedisHarness,
) -> None:
    store = await harness.open(system_clock)
    await say(store, "1", "2", "3", "4")
    await store.annotate(ALICE, "s", 2, Feedback("up"))
    await store.redact(ALICE, "s", 3)
    await harness.corrupt(ALICE, "s", 4)

    first, second, third, fourth = await store.read(ALICE, "s", limit=9)

    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert isinstance(third, Message)
    assert (first.text, second.text, second.feedback, third.redacted) == ("1", "2", Feedback("up"), True)
    assert fourth == Unreadable(4, "the checksum of the body does not match")


async def test_a_row_of_an_unknown_role_is_unreadable_and_the_others_are_not(harness: RedisHarness) -> None:
    store = await harness.open(system_clock)
    await say(store, "1", "2", "3")
    names = store._of(ALICE)
    stream = names.messages("s")
    entries = await store._ask("XRANGE", stream, "-", "+")
    await store._ask("DEL", stream)
    for entry, (field, row) in entries:
        odd = row[:16] + b"\xff" + row[17:] if entry == b"2-0" else row
        await store._ask("XADD", stream, entry, field, odd)

    first, second, third = await store.read(ALICE, "s", limit=9)

    assert _texts([first, third]) == ["1", "3"]
    assert isinstance(second, Unreadable)
    assert second.seq == 2


async def test_branches_are_read_at_once_until_another_process_changes_the_session(
    harness: RedisHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await harness.open(system_clock), await harness.open(system_clock)
    await say(one, "1", "2", "3")
    await say(one, "2 again", parent_seq=1)
    calls = Calls(one, monkeypatch)

    assert _texts(await one.read(ALICE, "s", limit=9)) == ["1", "2 again"]
    assert _texts(await one.read(ALICE, "s", limit=1, newest_first=True)) == ["2 again"]
    assert _texts(await one.read(ALICE, "s", limit=9, after_seq=4)) == []
    assert calls.names == ["ranges"] * 3

    await say(other, "3 again")
    calls.names.clear()
    assert _texts(await one.read(ALICE, "s", limit=9)) == ["1", "2 again", "3 again"]
    assert _texts(await one.read(ALICE, "s", limit=9)) == ["1", "2 again", "3 again"]
    assert calls.names == ["ranges", "read", "ranges", "ranges"]

    await one.trash_session(ALICE, "s", until=system_clock() + timedelta(days=1))
    await other.restore_session(ALICE, "s")
    assert _texts(await one.read(ALICE, "s", limit=9)) == ["1", "2 again", "3 again"]
    await other.purge_session(ALICE, "s")
    with pytest.raises(NotFound):
        await one.read(ALICE, "s", limit=9)


async def test_what_lies_beside_the_rows_of_a_session_costs_one_more_request_and_only_once(
    harness: RedisHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await harness.open(system_clock)
    await say(store, "1", "2")
    await store.annotate(ALICE, "s", 2, Feedback("up"))
    calls = Calls(store, monkeypatch)

    for _ in range(3):
        first, second = await store.read(ALICE, "s", limit=9)
        assert isinstance(first, Message)
        assert isinstance(second, Message)
        assert (first.feedback, second.feedback) == (None, Feedback("up"))

    assert len(calls.names) == (3 if isinstance(harness.server, Cluster) else 4)


async def test_rows_that_are_pruned_and_still_there_are_not_shown(harness: RedisHarness) -> None:
    store = await harness.open(system_clock)
    await say(store, *"abcdef")
    stream = store._of(ALICE).messages("s")
    rows = await store._ask("XRANGE", stream, "-", "+")
    await store.prune(ALICE, "s", before_seq=4)
    await store._ask("DEL", stream)
    for entry, fields in rows:
        await store._ask("XADD", stream, entry, *fields)

    assert _texts(await store.read(ALICE, "s", limit=2)) == ["d", "e"]
    assert _texts(await store.read(ALICE, "s", limit=9)) == ["d", "e", "f"]
    assert _texts(await store.read(ALICE, "s", limit=2, newest_first=True)) == ["f", "e"]
    assert _texts(await store.read(ALICE, "s", limit=9, newest_first=True)) == ["f", "e", "d"]
    assert _texts(await store.read(ALICE, "s", limit=9, newest_first=True, before_seq=6)) == ["e", "d"]


async def test_a_server_that_gives_no_transaction_is_asked_by_function(
    harness: RedisHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await harness.open(system_clock)
    await say(store, "1", "2")
    calls = Calls(store, monkeypatch)
    together = store._at_once

    async def refused(*commands: tuple[Value, ...]) -> list[Any] | None:
        return await together(*commands, ("HMGET",))

    monkeypatch.setattr(store, "_at_once", refused)

    assert _texts(await store.read(ALICE, "s", limit=9)) == ["1", "2"]
    assert _texts(await store.read(ALICE, "s", limit=1, after_seq=1)) == ["2"]
    assert calls.names == ["read", "read"]
    assert await store._ask("PING") in {b"PONG", True}
