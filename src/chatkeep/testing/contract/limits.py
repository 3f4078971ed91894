"""Bounds: the largest that fits, and the smallest that does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from chatkeep.domain.errors import IdReused, Invalid, LimitExceeded
from chatkeep.domain.limits import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_COMMENT_CHARS,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_INTEGER_BITS,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MAX_REQUEST_BYTES,
    MAX_STATE_BYTES,
    MAX_TITLE_CHARS,
)
from chatkeep.domain.messages import Content, Data, Feedback, NewMessage, Text
from chatkeep.domain.runs import NewRun, RunEvent
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.testing.calls import ALICE, LEASE, NEW, claim, digest, found, new_run, read_all, say, texts
from chatkeep.testing.clock import START
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

FRAME_BYTES = 5
"""What a stored text has beside its UTF-8."""


async def refused(call: Awaitable[object], limit: int) -> None:
    """Await a call that must be refused for this limit."""
    with pytest.raises(LimitExceeded) as error:
        await call
    assert (error.value.limit, error.value.code) == (limit, "limit_exceeded")
    assert error.value.actual > limit


def sized(size: int) -> str:
    """Return a text, of characters of every width, whose message has `size` bytes as stored."""
    size -= FRAME_BYTES
    return ("😀" * (size // 8)) + "a" * (size - size // 8 * 4)


class LimitTests(Suite):
    """Sizes."""

    async def test_of_a_message(self, store: AnyStore) -> None:
        largest = sized(MAX_MESSAGE_BYTES)

        await refused(say(store, largest + "a", key="k"), MAX_MESSAGE_BYTES)
        assert await store.find_session(ALICE, "s") is None
        await say(store, "before", largest, "behind", key="k")

        assert await texts(store) == ["before", largest, "behind"]

    async def test_of_a_batch_in_bytes(self, store: AnyStore) -> None:
        quarters = [sized(MAX_BATCH_BYTES // 8) for _ in range(8)]

        await refused(say(store, *quarters, "", key="k"), MAX_BATCH_BYTES)
        assert await store.find_session(ALICE, "s") is None
        await say(store, *quarters, key="k")

        assert await texts(store) == quarters

    async def test_of_a_batch_in_messages(self, store: AnyStore) -> None:
        hundred = [f"{n}" for n in range(MAX_BATCH_MESSAGES)]

        await refused(say(store, *hundred, "one too many", key="k"), MAX_BATCH_MESSAGES)
        appended = await say(store, *hundred, key="k")

        assert (appended.first_seq, appended.last_seq) == (1, MAX_BATCH_MESSAGES)
        assert await texts(store) == hundred

    async def test_of_the_largest_append_with_the_largest_key(self, store: AnyStore) -> None:
        key = "k" * 256
        batch = [sized(MAX_BATCH_BYTES // 8)] * 8
        for n in range(3):
            await say(store, *batch, key=key[: 256 - n])

        repeat = await say(store, *batch, key=key)

        assert (repeat.first_seq, repeat.last_seq, repeat.repeated) == (1, 8, True)
        assert len(await read_all(store)) == 24

    async def test_of_metadata(self, store: AnyStore) -> None:
        frame = len('{"k":""}')
        largest = {"k": "ä" * ((MAX_METADATA_BYTES - frame) // 2)}
        larger = {"k": largest["k"] + "a"}

        await refused(store.create_session(ALICE, "s", NewSession(metadata=larger)), MAX_METADATA_BYTES)
        await store.create_session(ALICE, "s", NewSession(metadata=largest))
        await refused(store.update_session(ALICE, "s", SessionPatch(metadata=larger)), MAX_METADATA_BYTES)
        await refused(say(store, "a", session="t", create=NewSession(metadata=larger)), MAX_METADATA_BYTES)

        session = await found(store)
        assert (session.metadata, session.revision) == (largest, 1)
        assert await store.find_session(ALICE, "t") is None

    async def test_of_a_title(self, store: AnyStore) -> None:
        largest = "😀" * MAX_TITLE_CHARS

        await refused(store.create_session(ALICE, "s", NewSession(title=largest + "a")), MAX_TITLE_CHARS)
        await store.create_session(ALICE, "s", NewSession(title=largest))
        await refused(store.update_session(ALICE, "s", SessionPatch(title=largest + "a")), MAX_TITLE_CHARS)
        await refused(say(store, "a", title=largest + "a"), MAX_TITLE_CHARS)

        session = await found(store)
        assert (session.title, session.last_seq) == (largest, 0)

    async def test_of_feedback(self, store: AnyStore) -> None:
        await say(store, "a")
        largest = "😀" * MAX_COMMENT_CHARS

        await refused(store.annotate(ALICE, "s", 1, Feedback("up", largest + "a")), MAX_COMMENT_CHARS)
        unchanged = await read_all(store)
        await store.annotate(ALICE, "s", 1, Feedback("up", largest))

        assert unchanged[0].feedback is None
        assert (await read_all(store))[0].feedback == Feedback("up", largest)

    async def test_of_state(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        largest = b"\xff" * MAX_STATE_BYTES

        await refused(store.put_state(ALICE, "s", "k", largest + b"\0", expected_version=0), MAX_STATE_BYTES)
        nothing = await store.get_state(ALICE, "s", "k")
        await store.put_state(ALICE, "s", "k" * 256, largest, expected_version=0)

        assert nothing is None
        assert await store.get_state(ALICE, "s", "k" * 256) == (largest, 1)

    async def test_of_the_request_of_a_run(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        largest = "ä" * (MAX_REQUEST_BYTES // 2)

        await refused(store.claim_run(ALICE, "s", new_run(request=largest + "a"), lease=LEASE), MAX_REQUEST_BYTES)
        assert await store.find_run(ALICE, "r") is None
        claimed = await store.claim_run(ALICE, "s", new_run(request=largest), lease=LEASE)

        assert claimed.run.request == largest
        assert await store.find_run(ALICE, "r") == claimed.run

    async def test_of_events(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store)
        largest = "ä" * (MAX_EVENT_BYTES // 2)
        most = [RunEvent(n, largest) for n in range(1, 17)]
        many = [RunEvent(n, "x") for n in range(17, 17 + MAX_EVENTS)]

        for given, limit in (
            ([RunEvent(1, largest + "a")], MAX_EVENT_BYTES),
            ([*most, RunEvent(17, "a")], MAX_BATCH_BYTES),
            ([RunEvent(n, "") for n in range(1, MAX_EVENTS + 2)], MAX_EVENTS),
        ):
            await refused(store.append_events(ALICE, "r", given, token=1, lease=LEASE), limit)
            await refused(store.finish_run(ALICE, "r", "complete", token=1, events=given), limit)
        nothing = await store.read_events(ALICE, "r")
        await store.append_events(ALICE, "r", most, token=1, lease=LEASE)
        await store.append_events(ALICE, "r", many, token=1, lease=LEASE)

        assert list(nothing) == []
        assert list(await store.read_events(ALICE, "r")) == most + many

    async def test_of_integers_and_depth(self, store: AnyStore) -> None:
        largest = [2**MAX_INTEGER_BITS - 1, -(2**MAX_INTEGER_BITS) + 1]

        for value in (2**MAX_INTEGER_BITS, -(2**MAX_INTEGER_BITS), nested(70), nested(100_000)):
            with pytest.raises(Invalid):
                await store.append(ALICE, "s", [_holding(value)], idempotency_key="k", digest=digest("k"), create=NEW)
        await store.append(
            ALICE, "s", [_holding(largest), _holding(nested(60))], idempotency_key="k", digest=digest("k"), create=NEW
        )

        assert [m.parts for m in await read_all(store)] == [(Data("d", largest),), (Data("d", nested(60)),)]

    @pytest.mark.parametrize("size", [16, 64])
    async def test_a_digest_of_16_to_64_bytes_is_kept_whole(self, store: AnyStore, size: int) -> None:
        message = NewMessage("user", Content(parts=(Text("a"),)))
        first = bytes(size)
        other = bytes(size - 1) + b"\1"
        for wrong in (b"", bytes(15), bytes(65)):
            with pytest.raises(Invalid):
                await store.append(ALICE, "s", [message], idempotency_key="k", digest=wrong, create=NEW)
        await store.append(ALICE, "s", [message], idempotency_key="k", digest=first, create=NEW)

        repeat = await store.append(ALICE, "s", [message], idempotency_key="k", digest=first)
        with pytest.raises(IdReused):
            await store.append(ALICE, "s", [message], idempotency_key="k", digest=other)

        assert repeat.repeated

    @pytest.mark.parametrize("bad", ["", "i" * 257, "😀" * 64 + "a", "\ud800"], ids=ascii)
    async def test_ids_and_keys_out_of_bounds_are_invalid_everywhere(self, store: AnyStore, bad: str) -> None:
        await say(store, "a")
        run = NewRun(id=bad, request="", digest=digest("x"), claimant="me")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.create_session(ALICE, bad, NEW),
            lambda: store.ensure_session(ALICE, bad, NEW),
            lambda: store.find_session(ALICE, bad),
            lambda: store.update_session(ALICE, bad, SessionPatch(title="t")),
            lambda: store.trash_session(ALICE, bad, until=START),
            lambda: store.restore_session(ALICE, bad),
            lambda: store.purge_session(ALICE, bad),
            lambda: say(store, "a", session=bad),
            lambda: say(store, "a", key=bad),
            lambda: store.read(ALICE, bad, limit=1),
            lambda: store.select_head(ALICE, bad, 0),
            lambda: store.prune(ALICE, bad, before_seq=1),
            lambda: store.annotate(ALICE, bad, 1, None),
            lambda: store.redact(ALICE, bad, 1),
            lambda: store.get_state(ALICE, bad, "k"),
            lambda: store.state_keys(ALICE, bad),
            lambda: store.get_state(ALICE, "s", bad),
            lambda: store.put_state(ALICE, "s", bad, b"", expected_version=0),
            lambda: store.claim_run(ALICE, bad, new_run(), lease=LEASE),
            lambda: store.claim_run(ALICE, "s", run, lease=LEASE),
            lambda: store.claim_run(ALICE, "s", new_run(claimant=bad), lease=LEASE),
            lambda: store.find_run(ALICE, bad),
            lambda: store.append_events(ALICE, bad, [], token=1, lease=LEASE),
            lambda: store.read_events(ALICE, bad),
            lambda: store.cancel_run(ALICE, bad),
            lambda: store.take_run(ALICE, bad, lease=LEASE),
            lambda: store.finish_run(ALICE, bad, "complete", token=1),
            lambda: store.drop_events(ALICE, bad),
        ]

        for call in calls:
            with pytest.raises(Invalid):
                await call()

        assert await texts(store) == ["a"]


def _holding(value: object) -> NewMessage:
    return NewMessage("user", Content(parts=(Data("d", value),)))


def nested(depth: int) -> list[object]:
    """Return lists in lists."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value
