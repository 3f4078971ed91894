"""What goes in comes out, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import (
    ROLES,
    STATUSES,
    Content,
    Data,
    Feedback,
    Foreign,
    JsonValue,
    Message,
    NewMessage,
    Text,
)
from chatkeep.domain.sessions import NewSession
from chatkeep.testing.calls import ALICE, NEW, digest, found, read_all, say, texts
from chatkeep.testing.clock import START
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.samples import CONTENTS, FOREIGN_VALUES, IDS, JSON_VALUES, TEXTS
from chatkeep.testing.suite import Suite


async def put(store: AnyStore, *contents: Content) -> list[Message]:
    """Append contents, and return them as read."""
    messages = [NewMessage("assistant", content) for content in contents]
    await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)
    return await read_all(store)


class RoundTripTests(Suite):
    """Round trips of everything that callers give."""

    async def test_every_kind_of_content(self, store: AnyStore) -> None:
        stored = await put(store, *CONTENTS.values())

        assert [message.content for message in stored] == list(CONTENTS.values())
        assert [repr(message.content) for message in stored] == [repr(content) for content in CONTENTS.values()]

    async def test_every_odd_text(self, store: AnyStore) -> None:
        stored = await put(store, *(Content(parts=(Text(text),)) for text in TEXTS.values()))

        assert [message.text for message in stored] == list(TEXTS.values())

    async def test_every_json_value_with_its_kinds_and_key_order(self, store: AnyStore) -> None:
        stored = await put(store, *(Content(parts=(Data("d", value),)) for value in JSON_VALUES.values()))

        assert [repr(message.parts) for message in stored] == [repr((Data("d", v),)) for v in JSON_VALUES.values()]

    async def test_every_foreign_item_byte_for_byte(self, store: AnyStore) -> None:
        stored = await put(store, *(Content(parts=(Foreign("f", value),)) for value in FOREIGN_VALUES.values()))

        assert [repr(m.parts) for m in stored] == [repr((Foreign("f", value),)) for value in FOREIGN_VALUES.values()]

    async def test_every_role_and_status(self, store: AnyStore) -> None:
        messages = [NewMessage(role, Content(), status) for role in ROLES for status in STATUSES]

        await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)

        assert [(m.role, m.status) for m in await read_all(store)] == [(m.role, m.status) for m in messages]

    async def test_times_to_the_microsecond_and_without_order(self, store: AnyStore) -> None:
        times = [
            datetime(2038, 1, 19, 3, 14, 8, 999_999, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
            datetime(2026, 3, 29, 2, 30, tzinfo=UTC),
            START,
        ]
        messages = [NewMessage("user", Content(), created_at=moment) for moment in times]

        await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)
        await say(store, "now")

        assert [message.created_at for message in await read_all(store)] == [*times, START]

    async def test_message_ids_are_distinct_and_stable(self, store: AnyStore) -> None:
        await say(store, "a", "b", key="k")
        first = [message.id for message in await read_all(store)]

        await say(store, "a", "b", key="k")
        await say(store, "c")

        ids = [message.id for message in await read_all(store)]
        assert ids[:2] == first
        assert len(set(ids)) == 3
        assert all(len(id_) == 32 for id_ in ids)

    async def test_a_message_that_brings_its_id_keeps_it(self, store: AnyStore) -> None:
        brought = bytes(range(16))
        messages = [NewMessage("user", Content(), uid=brought), NewMessage("user", Content())]

        done = await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)
        with pytest.raises(Invalid):
            await store.append(
                ALICE,
                "s",
                [NewMessage("user", Content(), uid=b"short")],
                idempotency_key="l",
                digest=digest("l"),
            )

        read = await read_all(store)
        assert read[0].id == done.messages[0].id == brought.hex()
        assert read[1].id == done.messages[1].id != brought.hex()

    @pytest.mark.parametrize(
        "feedback", [Feedback("up"), Feedback("down", "because \0 😀"), Feedback(None, ""), Feedback(), None], ids=repr
    )
    async def test_feedback(self, store: AnyStore, feedback: Feedback | None) -> None:
        await say(store, "a", "b")

        returned = await store.annotate(ALICE, "s", 2, feedback)

        first, second = await read_all(store)
        assert first.feedback is None
        assert second.feedback == returned.feedback == feedback
        assert second.text == returned.text == "b"

    async def test_metadata_and_title_of_a_session(self, store: AnyStore) -> None:
        metadata = {**JSON_VALUES, **{f"text {name}": text for name, text in TEXTS.items() if name != "long"}}
        for session_id, text in TEXTS.items():
            title = text[:200]
            await store.create_session(ALICE, session_id, NewSession(title=title, metadata=metadata))

            session = await found(store, session_id)
            assert session.title == title
            assert repr(session.metadata) == repr(metadata)

    async def test_state_of_any_bytes(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        for value in (b"", b"\0", bytes(range(256)), b"\xff\xfe", b"text"):
            name = f"key {value[:8]!r}"
            await store.put_state(ALICE, "s", name, value, expected_version=0)

            state = await store.get_state(ALICE, "s", name)
            assert state is not None
            assert (state.value, state.version) == (value, 1)

    async def test_any_text_is_an_id_of_its_own(self, store: AnyStore) -> None:
        for session_id in IDS:
            await say(store, f"in {session_id}", session=session_id)

        for session_id in IDS:
            assert (await found(store, session_id)).id == session_id
            assert await texts(store, session=session_id) == [f"in {session_id}"]

    @pytest.mark.parametrize(
        "content",
        [
            Content(parts=(Text("\ud800"),)),
            Content(parts=(Text("\ud800"), Foreign("f", "\ud800"))),
            Content(parts=(Foreign("\ud800", "a"),)),
            Content(parts=(Foreign("f", ["\ud83d\ude00"]),)),
            Content(parts=(Data("d", "\udfff"),)),
            Content(parts=(Data("d", float("nan")),)),
            Content(parts=(Foreign("f", float("inf")),)),
            Content(parts=(Data("d", {1: "a"}),)),
            Content(parts=(Data("d", (1, 2)),)),
            Content(parts=(Data("d", b"bytes"),)),
            Content(model="\ud800"),
            Content(metadata={"\ud800": 1}),
        ],
        ids=repr,
    )
    async def test_what_would_come_back_changed_is_refused(self, store: AnyStore, content: Content) -> None:
        messages = [NewMessage("user", Content(parts=(Text("fine"),))), NewMessage("user", content)]

        with pytest.raises(Invalid):
            await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)

        assert await store.find_session(ALICE, "s") is None

    async def test_what_is_read_is_the_readers_own(self, store: AnyStore) -> None:
        value: JsonValue = {"list": [1]}
        [stored] = await put(store, Content(parts=(Data("d", value),), metadata={"k": [1]}))

        stored.metadata["k"].append(2)
        value["list"].append(2)

        [again] = await read_all(store)
        assert again.content == Content(parts=(Data("d", {"list": [1]}),), metadata={"k": [1]})
