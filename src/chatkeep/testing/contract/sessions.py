"""The records of conversations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatkeep.domain.errors import NotFound, RevisionConflict, SessionExists
from chatkeep.domain.sessions import (
    HIDDEN_UNTIL_MESSAGE,
    HIDDEN_UNTIL_REVEAL,
    LISTED,
    NewSession,
    Session,
    SessionPatch,
)
from chatkeep.testing.calls import ALICE, NEW, found, listed, say, soon_listed, texts
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

MINUTE = timedelta(minutes=1)


class SessionTests(Suite):
    """Create, ensure, find, update."""

    async def test_a_new_session_is_empty_and_found(self, store: AnyStore) -> None:
        session = await store.create_session(ALICE, "s", NEW)

        assert session.id == "s"
        assert session.state == "active"
        assert (session.title, session.title_source, session.metadata) == ("", "auto", {})
        assert (session.first_seq, session.last_seq, session.head_seq, session.revision) == (1, 0, 0, 1)
        assert (session.message_count, session.path, session.jumps) == (0, (), ())
        assert (session.created_at, session.modified_at) == (START, START)
        assert (session.pinned_at, session.expires_at, session.trash_until) == (None, None, None)
        assert (session.active_run_id, session.queued_run_ids, session.hidden) == (None, (), LISTED)
        assert await store.find_session(ALICE, "s") == session
        assert await texts(store) == []

    async def test_a_session_keeps_what_it_was_created_with(self, store: AnyStore) -> None:
        new = NewSession(
            title="Größe 😀\0\n",
            title_source="user",
            state="pinned",
            metadata={"b": [1, 1.0, True, None], "a": {"": "\0", "é": 2**70}},
            created_at=datetime(1999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            idle_ttl=timedelta(days=7),
        )

        session = await store.create_session(ALICE, "s", new)

        assert session == await store.find_session(ALICE, "s")
        assert (session.title, session.title_source, session.state) == (new.title, "user", "pinned")
        assert repr(session.metadata) == repr(new.metadata)
        assert (session.created_at, session.modified_at) == (new.created_at, new.created_at)
        assert session.pinned_at == START
        assert session.idle_ttl_ms == 7 * 24 * 3600 * 1000
        assert session.expires_at is None

    async def test_an_id_is_taken_once(self, store: AnyStore) -> None:
        first = await store.create_session(ALICE, "s", NewSession(title="first"))

        with pytest.raises(SessionExists) as error:
            await store.create_session(ALICE, "s", NewSession(title="second"))

        assert error.value.session_id == "s"
        assert await store.find_session(ALICE, "s") == first

    async def test_ensure_creates_once_and_then_returns_what_is_there(self, store: AnyStore) -> None:
        first, was_created = await store.ensure_session(ALICE, "s", NewSession(title="first"))
        again, was_created_again = await store.ensure_session(ALICE, "s", NewSession(title="second"))

        assert (was_created, was_created_again) == (True, False)
        assert again == first
        assert first.title == "first"

    async def test_a_missing_session_is_none(self, store: AnyStore) -> None:
        assert await store.find_session(ALICE, "s") is None
        assert await store.find_session(ALICE, "s", include_trashed=True) is None

    async def test_incarnations_differ(self, store: AnyStore) -> None:
        one = await store.create_session(ALICE, "one", NEW)
        two = await store.create_session(ALICE, "two", NEW)

        assert one.incarnation != two.incarnation

    async def test_a_patch_changes_what_it_names_and_counts_a_revision(self, store: AnyStore, clock: FakeClock) -> None:
        before = await store.create_session(ALICE, "s", NewSession(metadata={"a": 1}))
        clock.advance(MINUTE)

        titled = await store.update_session(ALICE, "s", SessionPatch(title="mine"))
        tagged = await store.update_session(ALICE, "s", SessionPatch(metadata={"b": [2]}))

        assert titled == before._replace(title="mine", title_source="user", revision=2)
        assert tagged == titled._replace(metadata_json='{"b":[2]}', revision=3)
        assert await store.find_session(ALICE, "s") == tagged

    async def test_a_patch_that_changes_nothing_keeps_the_revision(self, store: AnyStore) -> None:
        before = await store.create_session(ALICE, "s", NewSession(title="t", title_source="user"))

        after = await store.update_session(ALICE, "s", SessionPatch(title="t", state="active"))

        assert after == before
        assert await store.find_session(ALICE, "s") == before

    async def test_a_users_title_is_never_replaced_by_a_made_one(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NewSession(title="auto"))

        modelled = await store.update_session(ALICE, "s", SessionPatch(title="model", title_source="model"))
        owned = await store.update_session(ALICE, "s", SessionPatch(title="user"))
        kept = await store.update_session(
            ALICE, "s", SessionPatch(title="model again", title_source="model", metadata={"x": 1})
        )

        assert (modelled.title, modelled.title_source) == ("model", "model")
        assert (owned.title, owned.title_source) == ("user", "user")
        assert (kept.title, kept.title_source, kept.metadata) == ("user", "user", {"x": 1})

    async def test_pinning_is_dated_and_undone(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NEW)
        clock.advance(MINUTE)

        pinned = await store.update_session(ALICE, "s", SessionPatch(state="pinned"))
        clock.advance(MINUTE)
        again = await store.update_session(ALICE, "s", SessionPatch(state="pinned"))
        unpinned = await store.update_session(ALICE, "s", SessionPatch(state="unpinned"))

        assert pinned.pinned_at == START + MINUTE
        assert again == pinned
        assert (unpinned.state, unpinned.pinned_at) == ("unpinned", None)

    async def test_a_stale_revision_is_refused_and_changes_nothing(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        current = await store.update_session(ALICE, "s", SessionPatch(title="two"), expected_revision=1)

        with pytest.raises(RevisionConflict) as error:
            await store.update_session(ALICE, "s", SessionPatch(title="three"), expected_revision=1)

        assert (error.value.expected, error.value.current) == (1, 2)
        assert await store.find_session(ALICE, "s") == current

    async def test_the_repeat_of_a_patch_is_no_conflict(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        first = await store.update_session(ALICE, "s", SessionPatch(title="two"), expected_revision=1)

        repeat = await store.update_session(ALICE, "s", SessionPatch(title="two"), expected_revision=1)

        assert repeat == first

    async def test_an_append_is_no_revision(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        appended = await say(store, "one")

        assert appended.session.revision == 1
        await store.update_session(ALICE, "s", SessionPatch(title="t"), expected_revision=1)

    async def test_a_missing_session_cannot_be_updated(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await store.update_session(ALICE, "s", SessionPatch(title="t"))

        assert await store.find_session(ALICE, "s") is None

    async def test_a_patch_leaves_the_log_alone(self, store: AnyStore) -> None:
        await say(store, "one", "two")

        patched = await store.update_session(ALICE, "s", SessionPatch(title="t", state="archived"))

        assert (patched.last_seq, patched.head_seq, patched.message_count) == (2, 2, 2)
        assert await texts(store) == ["one", "two"]

    async def test_a_session_hidden_until_revealed_is_found_and_written_but_not_listed(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NewSession(hidden=HIDDEN_UNTIL_REVEAL))
        await say(store, "a copy")

        hidden = await found(store)
        unlisted = await listed(store)
        revealed = await store.update_session(ALICE, "s", SessionPatch(reveal=True), expected_revision=1)

        assert hidden.hidden == HIDDEN_UNTIL_REVEAL
        assert unlisted == []
        assert revealed == hidden._replace(hidden=LISTED, revision=2)
        assert await soon_listed(store, ["s"]) == ["s"]

    async def test_a_session_hidden_until_its_first_message_is_listed_from_then_on(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NewSession(hidden=HIDDEN_UNTIL_MESSAGE))
        unlisted = await listed(store)

        appended = await say(store, "one", create=None)

        assert unlisted == []
        assert appended.session.hidden == LISTED
        assert await soon_listed(store, ["s"]) == ["s"]

    async def test_an_append_may_create_a_session_that_stays_hidden(self, store: AnyStore) -> None:
        appended = await say(store, "one", create=NewSession(hidden=HIDDEN_UNTIL_REVEAL))

        assert appended.session.hidden == HIDDEN_UNTIL_REVEAL
        assert await listed(store) == []

    async def test_what_one_handle_wrote_another_reads_at_once(self, store: AnyStore, second_store: AnyStore) -> None:
        session = await store.create_session(ALICE, "s", NEW)
        seen: Session | None = await second_store.find_session(ALICE, "s")

        await say(second_store, "one")

        assert seen == session
        assert await texts(store) == ["one"]
        assert await store.find_session(ALICE, "s") == await second_store.find_session(ALICE, "s")
