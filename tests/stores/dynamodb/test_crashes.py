"""A process dies between any two writes: what is left is the state before or after the call, and a repeat ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from chatkeep.domain.errors import NotFound, SessionExists
from chatkeep.domain.ids import new_id
from chatkeep.domain.messages import Message, Unreadable, user
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.runs import NewRun, RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch
from chatkeep.ports.store import Appended
from chatkeep.stores.dynamodb import DynamoStore
from chatkeep.stores.items.handle import SETTLED
from chatkeep.stores.items.heads import Head
from chatkeep.testing import FakeClock

ALICE = Scope("acme", "support", "alice")
LEASE = timedelta(seconds=15)
DIGEST = b"d" * 32
WRITES = frozenset({"put_item", "update_item", "delete_item"})
MOST_WRITES = 60


class Died(Exception):
    """The process is no more."""


class MortalClient:
    """A client whose process dies when its `lives`-th write has been applied, before it learns of that."""

    def __init__(self, client: Any, lives: int) -> None:
        self._client = client
        self._left = lives

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            if self._left <= 0:
                raise Died
            answer = await getattr(self._client, name)(**request)
            if name in WRITES:
                self._left -= 1
                if self._left <= 0:
                    raise Died
            return answer

        return call


class Snapshot(NamedTuple):
    """What a reader can see of a session, without what differs between two sessions of the same history."""

    session: Session | None
    entries: tuple[tuple[int, str, object], ...]
    runs: tuple[tuple[str, str, int, int, tuple[str, ...]], ...]
    state: bytes | None


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a scenario plays: one session of one scope; run ids are told apart by its name."""

    store: DynamoStore
    name: str

    async def say(self, *texts: str, key: str, **options: Any) -> Appended:
        return await self.store.append(
            ALICE,
            self.name,
            [user(text) for text in texts],
            idempotency_key=key,
            digest=DIGEST,
            create=NewSession(),
            **options,
        )

    async def claim(self, run: str, *, queue: bool = False) -> object:
        new = NewRun(id=self.run(run), request="a question", digest=DIGEST, claimant="me")
        return await self.store.claim_run(ALICE, self.name, new, lease=LEASE, queue=queue)

    async def tell(self, run: str, first: int, last: int, *, size: int = 100) -> object:
        events = [RunEvent(n, f"event {n} " + "x" * size) for n in range(first, last + 1)]
        return await self.store.append_events(ALICE, self.run(run), events, token=1, lease=LEASE)

    async def finish(self, run: str) -> object:
        last = [RunEvent(3, "the end")]
        return await self.store.finish_run(ALICE, self.run(run), "complete", token=1, events=last, message_seq=1)

    def run(self, run: str) -> str:
        return f"{self.name}/{run}"

    async def seen(self) -> Snapshot:
        """Return what is seen, which must be whole: no gap, no unreadable row, no event missing."""
        session = await self.store.find_session(ALICE, self.name)
        if session is None:
            return Snapshot(None, (), (), None)
        entries: list[tuple[int, str, object]] = []
        for entry in await self.store.read(ALICE, self.name, limit=1_000, path="all"):
            assert not isinstance(entry, Unreadable), entry
            assert isinstance(entry, Message)
            entries.append((entry.seq, entry.text[:20] + str(len(entry.text)), entry.feedback))
        assert [seq for seq, _, _ in entries] == list(range(session.first_seq, session.last_seq + 1))
        runs = [await self._run_seen(run) for run in ("a", "b") if await self.store.find_run(ALICE, self.run(run))]
        state = await self.store.get_state(ALICE, self.name, "k")
        plain = session._replace(id="", incarnation="", active_run_id=None, queued_runs_json="[]")
        return Snapshot(plain, tuple(entries), tuple(runs), state.value if state else None)

    async def _run_seen(self, name: str) -> tuple[str, str, int, int, tuple[str, ...]]:
        run = await self.store.find_run(ALICE, self.run(name))
        assert run is not None
        events = await self.store.read_events(ALICE, run.id)
        return (run.status, run.request, run.token, run.last_event, tuple(event.body for event in events))


Step = Callable[[Stage], Awaitable[object]]


class Scenario(NamedTuple):
    """A call, what comes before it, and which refusals its repeat may meet when it had happened after all."""

    name: str
    before: Step
    call: Step
    refusals: tuple[type[Exception], ...] = ()
    in_steps: bool = False
    """Whether the contract admits a partial result: an empty hidden session, or the first of the events."""


async def _nothing(stage: Stage) -> None:
    del stage


async def _two_messages(stage: Stage) -> None:
    await stage.say("a", key="k1")
    await stage.say("b", key="k2")


async def _large_message(stage: Stage) -> None:
    await stage.say("a", key="k1")
    await stage.say("L" * 200_000, key="k2")


async def _running(stage: Stage) -> None:
    await stage.say("a", key="k1")
    await stage.claim("a")
    await stage.tell("a", 1, 2)


async def _running_and_waiting(stage: Stage) -> None:
    await _running(stage)
    await stage.claim("b", queue=True)


async def _everything(stage: Stage) -> None:
    await _running_and_waiting(stage)
    await _large_message(stage)
    await stage.store.put_state(ALICE, stage.name, "k", b"v", expected_version=0)


async def _finished(stage: Stage) -> None:
    await _running(stage)
    await stage.finish("a")


SCENARIOS = [
    Scenario(
        "create",
        _nothing,
        lambda at: at.store.create_session(ALICE, at.name, NewSession(title="t")),
        (SessionExists,),
    ),
    Scenario("first append", _nothing, lambda at: at.say("a", "b", key="k")),
    Scenario("append", _two_messages, lambda at: at.say("c", "d", key="k")),
    Scenario("append that leaves its head", _two_messages, lambda at: at.say(*["m" * 4_000] * 5, key="k")),
    Scenario("append of a mebibyte", _two_messages, lambda at: at.say(*["m" * 200_000] * 5, key="k")),
    Scenario("first append of much", _nothing, lambda at: at.say("m" * 200_000, key="k"), in_steps=True),
    Scenario("append behind much", _large_message, lambda at: at.say("c", key="k")),
    Scenario("update", _two_messages, lambda at: at.store.update_session(ALICE, at.name, SessionPatch(title="t"))),
    Scenario("head", _two_messages, lambda at: at.store.select_head(ALICE, at.name, 1)),
    Scenario("prune", _two_messages, lambda at: at.store.prune(ALICE, at.name, before_seq=2)),
    Scenario("clear of much", _large_message, lambda at: at.store.prune(ALICE, at.name, before_seq=9)),
    Scenario("redact the newest", _two_messages, lambda at: at.store.redact(ALICE, at.name, 2)),
    Scenario("redact an old one", _two_messages, lambda at: at.store.redact(ALICE, at.name, 1)),
    Scenario("redact a large one", _large_message, lambda at: at.store.redact(ALICE, at.name, 2)),
    Scenario("purge", _everything, lambda at: at.store.purge_session(ALICE, at.name), (NotFound,)),
    Scenario("claim", _two_messages, lambda at: at.claim("a")),
    Scenario("claim in a queue", _running, lambda at: at.claim("b", queue=True)),
    Scenario("events", _running, lambda at: at.tell("a", 3, 5)),
    Scenario("large events", _running, lambda at: at.tell("a", 3, 12, size=50_000), in_steps=True),
    Scenario("finish", _running, lambda at: at.finish("a")),
    Scenario("finish before a waiting one", _running_and_waiting, lambda at: at.finish("a")),
    Scenario("cancel a waiting one", _running_and_waiting, lambda at: at.store.cancel_run(ALICE, at.run("b"))),
    Scenario("cancel", _running, lambda at: at.store.cancel_run(ALICE, at.run("a"))),
    Scenario("drop events", _finished, lambda at: at.store.drop_events(ALICE, at.run("a"))),
]


class CarelessStore(DynamoStore):
    """Commits an append first and writes its rows afterwards."""

    async def _save(self, head: Head) -> Head:
        saved = await super()._save(replace(head, tail=()))
        await self._copy(saved, head.tail)
        return saved


async def _die_everywhere(harness: Any, clock: FakeClock, scenario: Scenario, engine: type[DynamoStore]) -> None:
    """Play the scenario once whole and then with a death behind each of its writes; judge what each one leaves."""
    reader = await harness.open(clock)
    whole = Stage(reader, new_id())
    await scenario.before(whole)
    earlier = await whole.seen()
    await scenario.call(whole)
    later = await whole.seen()
    for lives in range(1, MOST_WRITES):
        stage = Stage(reader, new_id())
        await scenario.before(stage)
        mortal = MortalClient(reader._dynamo.client, lives)
        doomed = Stage(engine(mortal, prefix=harness.address.prefix, clock=clock), stage.name)
        died = False
        try:
            await scenario.call(doomed)
        except Died:
            died = True

        fresh = Stage(await harness.open(clock), stage.name)
        left = await fresh.seen()
        if not (scenario.in_steps and died):
            assert left in (earlier, later), f"after {lives} writes"
        try:
            await scenario.call(fresh)
        except scenario.refusals:
            assert left == later
        ended = await fresh.seen()
        await fresh.store.close()

        assert ended == later, f"repeated after {lives} writes"
        if not died:
            break
    else:
        pytest.fail(f"{scenario.name} has more than {MOST_WRITES} writes")
    await reader.close()


async def _sweep_all(store: DynamoStore, clock: FakeClock) -> None:
    while await store.sweep(events_before=clock.now):
        pass
    clock.advance(SETTLED)
    while await store.sweep(events_before=clock.now):
        pass


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
async def test_a_death_behind_any_write_leaves_a_state_that_a_repeat_completes(
    harness: Any, scenario: Scenario
) -> None:
    await _die_everywhere(harness, FakeClock(), scenario, DynamoStore)


async def test_that_test_catches_an_engine_that_commits_before_it_writes(harness: Any) -> None:
    append = next(scenario for scenario in SCENARIOS if scenario.name == "append")

    with pytest.raises(AssertionError, match="row is missing"):
        await _die_everywhere(harness, FakeClock(), append, CarelessStore)


async def test_what_a_dead_purge_leaves_is_swept(harness: Any) -> None:
    clock = FakeClock()
    reader = await harness.open(clock)

    for lives in range(1, MOST_WRITES):
        stage = Stage(reader, new_id())
        await _everything(stage)
        doomed = DynamoStore(MortalClient(reader._dynamo.client, lives), prefix=harness.address.prefix, clock=clock)
        try:
            await doomed.purge_session(ALICE, stage.name)
        except Died:
            pass
        else:
            break
    for session in (await reader.list_sessions(ALICE, SessionFilter(), limit=200)).items:
        await reader.purge_session(ALICE, session.id)
    await _sweep_all(reader, clock)

    assert await harness.rows() == []
    await reader.close()
