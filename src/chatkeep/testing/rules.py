"""One example of the state machine: its calls, and what is compared after them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from chatkeep.domain.messages import NewMessage
from chatkeep.domain.runs import NewRun, RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.testing import choices
from chatkeep.testing.calls import LEASE, digest, eventually
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.lockstep import Side

Result = TypeVar("Result")

_examples = count()


class Lockstep(RuleBasedStateMachine):
    """One example: calls of the whole contract on few scopes, ids and keys, and a clock that both sides share."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, engine: Side, oracle: Side, clock: FakeClock, failures: list[Exception]
    ) -> None:
        super().__init__()
        self._failures = failures
        self._loop = loop
        self._engine = engine
        self._oracle = oracle
        self._clock = clock
        clock.now = START
        for side in (engine, oracle):
            side.begin()
        tenant = f"example {next(_examples)}"
        self._scopes = (Scope(tenant, "a", "b:c"), Scope(tenant, "a:b", "c"))
        self._versions: dict[Scope, tuple[str, str]] = {}
        self._calls = 0
        self._looks = True
        self._last: tuple[tuple[int, str, list[NewMessage]], dict[str, Any]]

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return self._loop.run_until_complete(work)
        except Exception as error:
            self._failures.append(error)
            raise

    def _both(self, name: str, *args: Any, **options: Any) -> Any:
        """Call the method of both sides, through changing handles; return what both said."""
        self._calls += 1

        async def compare() -> Any:
            expected = await self._oracle.outcome(0, name, *args, **options)
            actual = await self._engine.outcome(self._calls, name, *args, **options)
            assert actual == expected, f"{name}: the engine said {actual!r}, expected {expected!r}"
            return expected

        return self._run(compare())

    def _same(self, look: Callable[[Side], Awaitable[Any]]) -> None:
        if not self._looks:
            return

        async def compare() -> None:
            expected = await look(self._oracle)
            actual = await look(self._engine)
            assert actual == expected, f"the engine shows {actual!r}, expected {expected!r}"

        self._run(compare())

    def _on_session(self, name: str, at: int, session_id: str, *args: Any, **options: Any) -> None:
        """Call a method of one session, and compare what the session shows afterwards.

        What is kept beside its messages is looked at when the call is about that; in the end all of it is.
        """
        scope = self._scopes[at]
        self._both(name, scope, session_id, *args, **options)
        keys = () if name in choices.MESSAGES_ONLY else choices.STATE_KEYS
        self._same(lambda side: side.session(scope, session_id, keys))

    def _on_run(self, name: str, at: int, run_id: str, *args: Any, **options: Any) -> None:
        """Call a method of one run, and compare all that the run and its session show afterwards."""
        scope = self._scopes[at]
        self._both(name, scope, run_id, *args, **options)
        self._same(lambda side: side.run(scope, run_id))
        run = self._run(self._oracle.stores[0].find_run(scope, run_id))
        if run is not None:
            self._same(lambda side: side.session(scope, run.session_id, ()))

    def _last_seq(self, at: int, session_id: str) -> int:
        session = self._run(self._oracle.stores[0].find_session(self._scopes[at], session_id, include_trashed=True))
        return 0 if session is None else session.last_seq

    @initialize()
    def begin(self) -> None:
        """Have something of everything, so that most calls find what they are about."""
        for session_id, run_id in zip(choices.SESSION_IDS, choices.RUN_IDS, strict=True):
            self.furnish(0, session_id, run_id, choices.HOUR if session_id == "S" else None)

    @rule(at=choices.scopes, session_id=choices.session_ids, run_id=choices.run_ids, ttl=choices.ttls)
    def furnish(self, at: int, session_id: str, run_id: str, ttl: timedelta | None) -> None:
        """Do what most examples need; what it shows is compared at its end, and not after each call."""
        self._looks = False
        self.make(at, session_id, lambda _: choices.PLAIN, ensure=True)
        self.append(at, session_id, choices.BEGINNING, "k1", None, {"idle_ttl": ttl})
        self.put_state(at, session_id, "k", b"begin", 0)
        self.claim(at, session_id, run_id, ("one", "me", True))
        self._looks = True
        self.append_events(at, run_id, choices.Writing(token=0, gap=0, count=2))
        self._same(lambda side: side.session(self._scopes[at], session_id, choices.STATE_KEYS))

    @rule(at=choices.scopes, session_id=choices.session_ids, new=choices.new_sessions, ensure=choices.flags)
    def make(self, at: int, session_id: str, new: choices.Offset, ensure: bool) -> None:  # noqa: FBT001 -- drawn
        self._on_session("ensure_session" if ensure else "create_session", at, session_id, new(self._clock.now))

    @rule(at=choices.scopes, session_id=choices.session_ids, patch=choices.patches, revision=choices.revisions)
    def update(self, at: int, session_id: str, patch: Any, revision: int | None) -> None:
        session = self._run(self._oracle.stores[0].find_session(self._scopes[at], session_id))
        expected = None if revision is None or session is None else session.revision + revision
        self._on_session("update_session", at, session_id, patch, expected_revision=expected)

    @rule(at=choices.scopes, session_id=choices.session_ids, after=choices.trash_times)
    def trash(self, at: int, session_id: str, after: timedelta) -> None:
        self._on_session("trash_session", at, session_id, until=self._clock.now + after)

    @rule(at=choices.scopes, session_id=choices.session_ids)
    def restore(self, at: int, session_id: str) -> None:
        self._on_session("restore_session", at, session_id)

    @rule(at=choices.scopes, session_id=choices.session_ids, run_id=choices.run_ids)
    def purge(self, at: int, session_id: str, run_id: str) -> None:
        """Remove a session; an append that is refused must not bring it back, and its successor sees nothing of it."""
        self._on_session("purge_session", at, session_id)
        self.append(at, session_id, choices.BEGINNING, "k1", lambda _: choices.PLAIN, {"expected_last_seq": 1})
        self.furnish(at, session_id, run_id, None)

    @rule(
        at=choices.scopes,
        session_id=choices.session_ids,
        messages=choices.batches,
        key=choices.keys,
        create=choices.creations,
        options=choices.append_options,
    )
    def append(
        self, at: int, session_id: str, messages: list[NewMessage], key: str, create: Any, options: dict[str, Any]
    ) -> None:
        last_seq = self._last_seq(at, session_id)
        for name, sign in (("expected_last_seq", 1), ("parent_seq", -1)):
            if options.get(name) is not None:
                options = {**options, name: max(0, last_seq + sign * options[name])}
        options["create"] = None if create is None else create(self._clock.now)
        self._last = (
            (at, session_id, messages),
            {
                "idempotency_key": key,
                "digest": digest(repr(messages)),
                **options,
            },
        )
        self.repeat()

    @rule()
    def repeat(self) -> None:
        """Append again what was appended last."""
        (at, session_id, messages), options = self._last
        self._on_session("append", at, session_id, messages, **options)

    @rule(at=choices.scopes, session_id=choices.session_ids, messages=choices.batches, key=choices.fresh_keys)
    def say(self, at: int, session_id: str, messages: list[NewMessage], key: int) -> None:
        options = {"idempotency_key": f"fresh {key}", "digest": digest(repr(messages)), "create": choices.PLAIN}
        self._on_session("append", at, session_id, messages, **options)

    @rule(at=choices.scopes, session_id=choices.session_ids, options=choices.read_options)
    def read(self, at: int, session_id: str, options: dict[str, Any]) -> None:
        self._both("read", self._scopes[at], session_id, **options)

    @rule(at=choices.scopes, session_id=choices.session_ids, back=choices.back, options=choices.head_options)
    def select_head(self, at: int, session_id: str, back: int, options: dict[str, Any]) -> None:
        last_seq = self._last_seq(at, session_id)
        seq = max(0, last_seq - back)
        if "expected_last_seq" in options:
            options = {**options, "expected_last_seq": last_seq + options["expected_last_seq"]}
        self._on_session("select_head", at, session_id, seq, **options)

    @rule(at=choices.scopes, session_id=choices.session_ids, back=choices.back)
    def prune(self, at: int, session_id: str, back: int) -> None:
        self._on_session("prune", at, session_id, before_seq=max(0, self._last_seq(at, session_id) - back))

    @rule(at=choices.scopes, session_id=choices.session_ids, back=choices.back, feedback=choices.feedbacks)
    def annotate(self, at: int, session_id: str, back: int, feedback: Any) -> None:
        seq = max(0, self._last_seq(at, session_id) - back)
        self._on_session("annotate", at, session_id, seq, feedback)

    @rule(at=choices.scopes, session_id=choices.session_ids, back=choices.back)
    def redact(self, at: int, session_id: str, back: int) -> None:
        self._on_session("redact", at, session_id, max(0, self._last_seq(at, session_id) - back))

    @rule(at=choices.scopes, session_id=choices.session_ids, back=choices.back)
    def damage(self, at: int, session_id: str, back: int) -> None:
        scope = self._scopes[at]
        seq = max(0, self._last_seq(at, session_id) - back)
        path = {"after_seq": seq - 1, "before_seq": seq + 1, "limit": 1, "path": "all"}
        found = self._both("read", scope, session_id, **path)
        if isinstance(found, tuple) and found and found[0][0] != "unreadable" and not found[0][6]:
            for side in (self._oracle, self._engine):
                self._run(side.harness.corrupt(scope, session_id, seq))
            self._both("read", scope, session_id, **path)

    @rule(
        at=choices.scopes,
        session_id=choices.session_ids,
        key=choices.state_keys,
        value=choices.state_values,
        version=choices.versions,
    )
    def put_state(self, at: int, session_id: str, key: str, value: bytes, version: int) -> None:
        scope = self._scopes[at]
        said = self._run(self._oracle.outcome(0, "get_state", scope, session_id, key))
        current = said[1] if isinstance(said, tuple) else 0
        self._on_session("put_state", at, session_id, key, value, expected_version=current + version)

    @rule(at=choices.scopes, session_id=choices.session_ids, run_id=choices.run_ids, body=choices.bodies)
    def claim(self, at: int, session_id: str, run_id: str, body: tuple[str, str, bool]) -> None:
        request, claimant, queue = body
        new = NewRun(id=run_id, request=request, digest=digest(request), claimant=claimant)
        self._on_session("claim_run", at, session_id, new, lease=LEASE, queue=queue)
        self._same(lambda side: side.run(self._scopes[at], run_id))

    def _token_and_events(self, at: int, run_id: str, drawn: choices.Writing) -> tuple[int, list[RunEvent]]:
        run = self._run(self._oracle.stores[0].find_run(self._scopes[at], run_id))
        token, last = (1, 0) if run is None else (run.token, run.last_event)
        first = max(1, last + 1 + drawn.gap)
        events = [RunEvent(n, f"event {n}") for n in range(first, first + drawn.count)]
        return token + drawn.token, events

    @rule(at=choices.scopes, run_id=choices.run_ids, drawn=choices.writings)
    def append_events(self, at: int, run_id: str, drawn: choices.Writing) -> None:
        token, events = self._token_and_events(at, run_id, drawn)
        self._on_run("append_events", at, run_id, events, token=token, lease=LEASE)

    @rule(at=choices.scopes, run_id=choices.run_ids, drawn=choices.writings, outcome=choices.outcomes)
    def finish(self, at: int, run_id: str, drawn: choices.Writing, outcome: str) -> None:
        token, events = self._token_and_events(at, run_id, drawn)
        self._on_run("finish_run", at, run_id, outcome, token=token, events=events, message_seq=3, error="e")

    @rule(at=choices.scopes, run_id=choices.run_ids)
    def cancel(self, at: int, run_id: str) -> None:
        self._on_run("cancel_run", at, run_id)

    @rule(at=choices.scopes, run_id=choices.run_ids)
    def take(self, at: int, run_id: str) -> None:
        self._on_run("take_run", at, run_id, lease=LEASE)

    @rule(at=choices.scopes, run_id=choices.run_ids)
    def drop_events(self, at: int, run_id: str) -> None:
        self._on_run("drop_events", at, run_id)

    @rule(at=choices.scopes)
    def erase(self, at: int) -> None:
        self._both("erase_scope", self._scopes[at])
        self.furnish(at, choices.SESSION_IDS[0], choices.RUN_IDS[0], None)

    @rule(by=choices.spans)
    def wait(self, by: timedelta) -> None:
        self._clock.advance(by)

    @rule(at=choices.scopes, session_id=choices.session_ids, short=choices.flags)
    def wait_for_the_end(self, at: int, session_id: str, short: bool) -> None:  # noqa: FBT001 -- drawn
        """Go to the exact end of a session's time, or to just before it, and look."""
        scope = self._scopes[at]
        session = self._run(self._oracle.stores[0].find_session(scope, session_id, include_trashed=True))
        if session is None:
            return
        ends = session.trash_until if session.state == "trashed" else session.expires_at
        if ends is not None:
            self._clock.now = ends - choices.TICK if short else ends
            self._same(lambda side: side.session(scope, session_id, choices.STATE_KEYS))

    @rule(by=choices.spans)
    def step_back(self, by: timedelta) -> None:
        self._purge_due()
        self._clock.advance(-by)

    @rule()
    def clean_up(self) -> None:
        """Do what the janitor does with sessions and rows."""
        self._purge_due()
        for side in (self._oracle, self._engine):
            self._run(_sweep(side, self._clock))

    def _purge_due(self) -> None:
        async def due(side: Side) -> Any:
            listed = await side.stores[0].due_sessions(limit=1_000)
            return {(scope, session_id) for scope, session_id, _ in listed if scope in self._scopes}

        self._same(due)
        for side in (self._oracle, self._engine):
            self._run(_purge(side))
        self._same(due)

    @rule()
    def look_for_expired_runs(self) -> None:
        async def expired(side: Side) -> Any:
            return {run for run in await side.stores[0].expired_runs(limit=1_000) if run[0] in self._scopes}

        self._same(expired)

    @rule(limit=choices.list_limits)
    def look_at_everything(self, limit: int) -> None:
        for scope in self._scopes:
            for session_id in choices.SESSION_IDS:
                self._same(lambda side, s=scope, i=session_id: side.session(s, i, choices.STATE_KEYS))  # type: ignore[misc]  # bound at once
            for run_id in choices.RUN_IDS:
                self._same(lambda side, s=scope, r=run_id: side.run(s, r))  # type: ignore[misc]  # bound at once
            self._run(self._lists(scope, limit))

    async def _lists(self, scope: Scope, limit: int) -> None:
        """Compare the lists, and whether the version differs since the last look when anything has changed."""
        expected = await self._oracle.lists(scope, limit)
        actual = await eventually(lambda: self._engine.lists(scope, limit), lambda seen: seen == expected)
        assert actual == expected, f"the engine lists {actual!r}, expected {expected!r}"
        new = await self._oracle.stores[0].scope_version(scope)
        old = self._versions.get(scope)
        changed = old is not None and old[0] != new
        seen = await eventually(
            lambda: self._engine.stores[0].scope_version(scope),
            lambda version: not changed or old is None or version != old[1],
        )
        assert not changed or old is None or seen != old[1], "the version of the scope does not show a change"
        self._versions[scope] = (new, seen)

    def teardown(self) -> None:
        try:
            self.look_at_everything(2)
        finally:
            for side in (self._oracle, self._engine):
                for scope in self._scopes:
                    self._run(side.stores[0].erase_scope(scope))


async def _purge(side: Side) -> None:
    store = side.stores[-1]
    while due := await store.due_sessions(limit=1_000):
        for scope, session_id, incarnation in due:
            await store.purge_gone(scope, session_id, incarnation)


async def _sweep(side: Side, clock: FakeClock) -> None:
    while await side.stores[-1].sweep(events_before=clock.now - LEASE, limit=1_000):
        pass
