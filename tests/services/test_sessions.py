from __future__ import annotations

from datetime import timedelta

import pytest
from tests.services.conftest import ALICE, BOB, Clock, DeskMaker

from chatkeep.domain.errors import Closed, Invalid, NotFound, RevisionConflict, SessionExists, Timeout
from chatkeep.domain.messages import user
from chatkeep.domain.pages import Receipt, SessionFilter
from chatkeep.domain.policies import RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch
from chatkeep.services.sessions import SessionService
from chatkeep.stores.memory import MemoryStore


class Forgetful(MemoryStore):
    """A store whose first answer to each kind of call is lost on its way back."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.lost: set[str] = set()

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        done = await super().create_session(scope, session_id, new)
        self._lose("create")
        return done

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        done = await super().ensure_session(scope, session_id, new)
        self._lose("ensure")
        return done

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        done = await super().purge_session(scope, session_id, incarnation=incarnation)
        self._lose("purge")
        return done

    def _lose(self, what: str) -> None:
        if what not in self.lost:
            self.lost.add(what)
            raise Timeout("the answer was lost")


async def test_a_session_without_an_id_gets_one_of_its_own(desks: DeskMaker) -> None:
    desk = desks()

    first, second = await desk.sessions.create(ALICE), await desk.sessions.create(ALICE, title="Trip")

    assert first.id != second.id
    assert (first.title_source, second.title_source) == ("auto", "user")
    assert {s.id for s in (await desk.sessions.list(ALICE, SessionFilter())).items} == {first.id, second.id}


async def test_a_lost_answer_makes_neither_two_sessions_nor_an_error(clock: Clock) -> None:
    store = Forgetful(clock)
    sessions = SessionService(store, clock, RetentionPolicies())

    made = await sessions.create(ALICE)
    receipt = await sessions.purge(ALICE, made.id)

    assert receipt.removed == {}
    assert (await sessions.list(ALICE, SessionFilter())).items == ()
    assert store.lost == {"ensure", "purge"}


async def test_a_taken_id_is_refused_and_belongs_to_its_scope_alone(desks: DeskMaker) -> None:
    desk = desks()
    await desk.sessions.create(ALICE, "s")

    with pytest.raises(SessionExists):
        await desk.sessions.create(ALICE, "s")
    await desk.sessions.create(BOB, "s", title="Bob's")

    assert (await desk.sessions.get(ALICE, "s")).title == ""


@pytest.mark.parametrize("session_id", ["", "\ud800", "x" * 257])
async def test_a_bad_id_is_refused(desks: DeskMaker, session_id: str) -> None:
    desk = desks()

    with pytest.raises(Invalid):
        await desk.sessions.create(ALICE, session_id)
    with pytest.raises(Invalid):
        await desk.sessions.get(ALICE, session_id)


async def test_ensure_tells_whether_it_created(desks: DeskMaker) -> None:
    desk = desks()

    first, created = await desk.sessions.ensure(ALICE, "s", title="One", metadata={"a": 1})
    second, again = await desk.sessions.ensure(ALICE, "s", title="Two", metadata={"a": 2})

    assert (created, again) == (True, False)
    assert (second.title, second.metadata) == (first.title, {"a": 1})


async def test_settings_change_only_at_the_expected_revision(desks: DeskMaker) -> None:
    desk = desks()
    made = await desk.sessions.create(ALICE, "s")

    await desk.sessions.update(ALICE, "s", SessionPatch(state="pinned"), expected_revision=made.revision)
    with pytest.raises(RevisionConflict):
        await desk.sessions.update(ALICE, "s", SessionPatch(state="archived"), expected_revision=made.revision)

    session = await desk.sessions.get(ALICE, "s")
    assert session.pinned
    assert session.pinned_at is not None


async def test_a_deleted_session_is_restored_as_it_was_until_its_time_is_over(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await desk.sessions.create(ALICE, "s", state="pinned")
    await desk.history.append(ALICE, "s", [user("keep me")])

    trashed = await desk.sessions.delete(ALICE, "s")
    assert trashed.trash_until == clock.now + timedelta(days=7)
    with pytest.raises(NotFound):
        await desk.sessions.get(ALICE, "s")
    with pytest.raises(Closed):
        await desk.sessions.create(ALICE, "s")
    clock.advance(days=6)
    await desk.sessions.restore(ALICE, "s")

    assert (await desk.sessions.get(ALICE, "s")).state == "pinned"
    assert await desk.texts("s") == [("user", "complete", "keep me")]
    await desk.sessions.delete(ALICE, "s")
    clock.advance(days=7)
    with pytest.raises(NotFound):
        await desk.sessions.restore(ALICE, "s")


async def test_a_second_delete_does_not_lengthen_the_time_in_the_trash(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await desk.sessions.create(ALICE, "s")
    first = await desk.sessions.delete(ALICE, "s")
    clock.advance(days=3)

    again = await desk.sessions.delete(ALICE, "s")

    assert again.trash_until == first.trash_until


async def test_a_purge_says_what_it_removed_and_frees_the_id(desks: DeskMaker) -> None:
    desk = desks()
    await desk.sessions.create(ALICE, "s")
    await desk.history.append(ALICE, "s", [user("1"), user("2")])
    await desk.sessions.delete(ALICE, "s")

    receipt = await desk.sessions.purge(ALICE, "s")

    assert (receipt.removed["sessions"], receipt.removed["messages"]) == (1, 2)
    with pytest.raises(NotFound):
        await desk.sessions.purge(ALICE, "s")
    await desk.sessions.create(ALICE, "s")
    assert await desk.texts("s") == []


async def test_erasing_removes_all_of_one_user_and_nothing_of_another(desks: DeskMaker) -> None:
    desk = desks()
    for session_id in ("live", "archived", "trashed"):
        await desk.sessions.create(ALICE, session_id)
        await desk.history.append(ALICE, session_id, [user("mine")])
    await desk.sessions.update(ALICE, "archived", SessionPatch(state="archived"))
    await desk.sessions.delete(ALICE, "trashed")
    await desk.sessions.create(BOB, "his")

    receipt = await desk.sessions.erase(ALICE)

    assert (receipt.removed["sessions"], receipt.removed["messages"]) == (3, 3)
    assert (await desk.sessions.list(ALICE, SessionFilter(state="trashed"))).items == ()
    assert await desk.sessions.find(BOB, "his") is not None


async def test_each_app_has_its_own_time_to_live(clock: Clock) -> None:
    policies = RetentionPolicies(by_app={"short": RetentionPolicy(idle_ttl=timedelta(days=1))})
    store = MemoryStore(clock)
    sessions = SessionService(store, clock, policies)
    short = Scope("default", "short", "alice")
    await sessions.create(short, "s")
    await sessions.create(ALICE, "s")

    clock.advance(days=1)

    assert await sessions.find(short, "s") is None
    assert await sessions.find(ALICE, "s") is not None


@pytest.mark.parametrize("limit", [0, 201])
async def test_a_page_beyond_the_bounds_is_refused(desks: DeskMaker, limit: int) -> None:
    desk = desks()

    with pytest.raises(Invalid, match="between 1 and 200"):
        await desk.sessions.list(ALICE, SessionFilter(), limit=limit)
