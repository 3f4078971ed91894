"""What belongs to another scope does not exist."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest

from chatkeep.domain.errors import ChatkeepError, NotFound
from chatkeep.domain.messages import Feedback
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.runs import RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.ports.store import Store
from chatkeep.testing.calls import (
    ALICE,
    LEASE,
    NEW,
    claim,
    events,
    found,
    listed,
    new_run,
    read_all,
    say,
    texts,
)
from chatkeep.testing.clock import START
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.samples import IDS, NEIGHBOURS
from chatkeep.testing.suite import Suite

Call = Callable[[AnyStore, Scope], Awaitable[object]]

CALLS: dict[str, Call] = {
    "find_session": lambda store, scope: store.find_session(scope, "s", include_trashed=True),
    "list_sessions": lambda store, scope: store.list_sessions(scope, SessionFilter(include_archived=True), limit=9),
    "update_session": lambda store, scope: store.update_session(scope, "s", SessionPatch(title="mine now")),
    "trash_session": lambda store, scope: store.trash_session(scope, "s", until=START),
    "restore_session": lambda store, scope: store.restore_session(scope, "s"),
    "purge_session": lambda store, scope: store.purge_session(scope, "s"),
    "scope_version": lambda store, scope: store.scope_version(scope),
    "append": lambda store, scope: say(store, "intruder", scope=scope, key="k", create=None),
    "read": lambda store, scope: store.read(scope, "s", limit=9),
    "select_head": lambda store, scope: store.select_head(scope, "s", 1),
    "prune": lambda store, scope: store.prune(scope, "s", before_seq=9),
    "annotate": lambda store, scope: store.annotate(scope, "s", 1, Feedback("down")),
    "redact": lambda store, scope: store.redact(scope, "s", 1),
    "get_state": lambda store, scope: store.get_state(scope, "s", "k"),
    "state_keys": lambda store, scope: store.state_keys(scope, "s"),
    "put_state": lambda store, scope: store.put_state(scope, "s", "k", b"intruder", expected_version=1),
    "claim_run": lambda store, scope: store.claim_run(scope, "s", new_run(), lease=LEASE),
    "find_run": lambda store, scope: store.find_run(scope, "r"),
    "append_events": lambda store, scope: store.append_events(scope, "r", events(2, 2), token=1, lease=LEASE),
    "read_events": lambda store, scope: store.read_events(scope, "r"),
    "cancel_run": lambda store, scope: store.cancel_run(scope, "r"),
    "take_run": lambda store, scope: store.take_run(scope, "r", lease=LEASE),
    "finish_run": lambda store, scope: store.finish_run(scope, "r", "failed", token=1),
    "drop_events": lambda store, scope: store.drop_events(scope, "r"),
    "erase_scope": lambda store, scope: store.erase_scope(scope),
}
"""A call of each method that tries to reach what another scope has."""

MAKING = frozenset({"create_session", "ensure_session"})
"""Methods that find nothing and so make something; they have a test of their own."""

OUTSIDERS = (
    Scope(ALICE.tenant, ALICE.app, "bob"),
    Scope(ALICE.tenant, "sales", ALICE.user),
    Scope("other", ALICE.app, ALICE.user),
    Scope(ALICE.tenant, ALICE.app, ALICE.user.upper()),
    Scope(ALICE.tenant, ALICE.app, ALICE.user + " "),
    Scope(ALICE.tenant, ALICE.user, ALICE.app),
)
NEVER_USED = Scope("never", "used", "before")


async def outcome(call: Call, store: AnyStore, scope: Scope) -> str:
    """Return what a caller sees of a call: its result, or its error with kind and text."""
    try:
        return repr(await call(store, scope))
    except ChatkeepError as error:
        return f"{type(error).__name__}: {error}"


async def picture(store: AnyStore) -> str:
    """Return everything that Alice sees of the session `s` and its run."""
    return repr(
        (
            await found(store),
            [(message[:7], message.feedback, message.content) for message in await read_all(store)],
            await store.get_state(ALICE, "s", "k"),
            await store.find_run(ALICE, "r"),
            await store.read_events(ALICE, "r"),
            await listed(store),
        )
    )


async def furnish(store: AnyStore) -> None:
    """Give Alice a session with some of everything."""
    await store.create_session(ALICE, "s", NEW)
    await say(store, "a", "b", key="k")
    await store.put_state(ALICE, "s", "k", b"v", expected_version=0)
    await claim(store)
    await store.append_events(ALICE, "r", events(1, 1), token=1, lease=LEASE)


class IsolationTests(Suite):
    """Scopes and ids that never meet."""

    async def test_every_method_that_takes_a_scope_is_tried(self) -> None:
        methods = {
            name
            for name, member in inspect.getmembers(Store, inspect.isfunction)
            if "scope" in inspect.signature(member).parameters
        }

        assert methods == CALLS.keys() | MAKING

    async def test_what_is_someone_elses_looks_as_if_it_were_missing(self, store: AnyStore) -> None:
        await furnish(store)
        before = await picture(store)

        for outsider in OUTSIDERS:
            for name, call in CALLS.items():
                seen = await outcome(call, store, outsider)
                assert seen == await outcome(call, store, NEVER_USED), (name, outsider)

        assert await picture(store) == before

    async def test_the_same_ids_keys_and_runs_live_side_by_side(self, store: AnyStore) -> None:
        await furnish(store)
        before = await picture(store)

        for outsider in OUTSIDERS:
            await store.create_session(outsider, "s", NewSession(title="theirs"))
            appended = await say(store, "theirs", scope=outsider, key="k")
            state = await store.put_state(outsider, "s", "k", b"theirs", expected_version=0)
            run = await claim(store, scope=outsider)
            assert (appended.first_seq, appended.repeated) == (1, False)
            assert (state.version, run.last_event) == (1, 0)
            _, was_created = await store.ensure_session(outsider, "t", NEW)
            assert was_created

        assert await picture(store) == before
        assert await store.find_session(ALICE, "t") is None
        for outsider in OUTSIDERS:
            assert await texts(store, scope=outsider) == ["theirs"]
            await store.erase_scope(outsider)
        assert await picture(store) == before

    async def test_no_two_neighbours_meet(self, store: AnyStore, harness: StoreHarness) -> None:
        places = list(dict.fromkeys(NEIGHBOURS))
        for n, (scope, session_id) in enumerate(places):
            await store.create_session(scope, session_id, NEW)
            await say(store, f"text {n}", scope=scope, session=session_id, key="k")
            await store.put_state(scope, session_id, "k", f"state {n}".encode(), expected_version=0)
            await store.claim_run(scope, session_id, new_run(f"{session_id[:240]} {n}"), lease=LEASE)

        for n, (scope, session_id) in enumerate(places):
            assert await texts(store, scope=scope, session=session_id) == [f"text {n}"]
            assert await store.get_state(scope, session_id, "k") == (f"state {n}".encode(), 1)
            mine = [other_id for other, other_id in places if other == scope]
            assert sorted(await listed(store, scope=scope)) == sorted(mine)

        for n, (scope, session_id) in enumerate(places):
            await store.purge_session(scope, session_id)
            assert await store.find_session(scope, session_id) is None
            for later, (other, other_id) in enumerate(places[n + 1 : n + 4], start=n + 1):
                assert await texts(store, scope=other, session=other_id) == [f"text {later}"]
        while await store.sweep(events_before=START):
            pass
        assert list(await harness.rows()) == []

    async def test_run_ids_that_resemble_each_other_are_apart(self, store: AnyStore) -> None:
        run_ids = [run_id for run_id in IDS if len(run_id.encode()) < 250]
        for run_id in run_ids:
            await store.create_session(ALICE, f"{run_id} of", NEW)
            await claim(store, run_id, session=f"{run_id} of")
            await store.append_events(ALICE, run_id, [RunEvent(1, f"in {run_id}")], token=1, lease=LEASE)

        for run_id in run_ids:
            run = await store.find_run(ALICE, run_id)
            assert run is not None
            assert run.session_id == f"{run_id} of"
            assert list(await store.read_events(ALICE, run_id)) == [RunEvent(1, f"in {run_id}")]

        assert await store.find_run(ALICE, "of") is None

    async def test_deleting_one_of_resembling_ids_leaves_the_others(self, store: AnyStore) -> None:
        for session_id in IDS:
            await say(store, f"in {session_id}", session=session_id)

        for n, session_id in enumerate(IDS):
            await store.purge_session(ALICE, session_id)
            with pytest.raises(NotFound):
                await store.read(ALICE, session_id, limit=1)
            for other in IDS[n + 1 :]:
                assert await texts(store, session=other) == [f"in {other}"]
