"""Chat: start an answer, follow it from anywhere, stop it, and pick up what a dead process left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from chatkeep.domain.agents import choose
from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import ChatkeepError, Invalid, LeaseLost, NotFound, StoreError, Unavailable
from chatkeep.domain.ids import check_id, derived_id, new_id
from chatkeep.domain.messages import Message, user
from chatkeep.domain.paths import on_path
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.runs import NewRun, Run, RunEnd, RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_MESSAGE, NewSession, dump
from chatkeep.ports.models import ModelCatalog
from chatkeep.ports.store import Store
from chatkeep.services.agents import AgentService
from chatkeep.services.answers import store_question
from chatkeep.services.asks import Ask
from chatkeep.services.context import ContextService
from chatkeep.services.digests import digest_of
from chatkeep.services.generation import LEASE, Generation, GenerationSettings
from chatkeep.services.history import HistoryService
from chatkeep.services.live import LiveRun, StreamEvent, decode_event
from chatkeep.services.recovery import recover
from chatkeep.services.retrying import retried

TAIL_INTERVAL_SECONDS = 0.1

WhenBusy = Literal["reject", "queue", "interrupt"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a caller asks for. `when_busy`: what happens while the session is answering already.

    `interrupt` cancels the answer under way and takes the next place behind those that wait already.
    """

    text: str
    agent: str | None = None
    model: str | None = None
    when_busy: WhenBusy = "reject"


class ChatService:
    """Answers, owned by this service and not by whoever asked for them.

    Call `pick_up` for expired runs every few seconds, and `close` before the store is closed. `on_end` gets
    each run that ended here; `on_created` is called for each session that a chat began, `on_answer` with each session
    that an answer was added to.
    """

    def __init__(
        self,
        store: Store,
        policies: RetentionPolicies,
        models: ModelCatalog,
        agents: AgentService,
        context: ContextService,
        settings: GenerationSettings,
        *,
        on_end: Callable[[Run], None] = lambda _run: None,
        on_created: Callable[[], None] = lambda: None,
        on_answer: Callable[[Scope, str], None] = lambda _scope, _session_id: None,
    ) -> None:
        self._store = store
        self._policies = policies
        self._models = models
        self._agents = agents
        self._history = HistoryService(store, policies)
        self._generation = Generation(store, self._history, models, agents, context, settings)
        self._on_end = on_end
        self._on_created = on_created
        self._on_answer = on_answer
        self._live: dict[tuple[Scope, str], LiveRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asides: set[asyncio.Task[None]] = set()
        self._closing = False

    async def chat(
        self, scope: Scope, session_id: str | None, request: ChatRequest, *, idempotency_key: str | None = None
    ) -> Run:
        """Store the user's message and start an answer to it; return the run, which goes on by itself.

        `session_id` None, or one that is not used yet, begins a new session. With an `idempotency_key` a repeat returns
        the same run, in the same session. When this returns, the message is stored, unless the run is `queued`: then it
        is kept in the run. Raises RunActive, Closed, IdReused, Invalid, LimitExceeded, NotFound (agent).
        """
        if session_id is None:
            session_id = (
                new_id() if idempotency_key is None else derived_id("session", *_fields(scope), idempotency_key)
            )
        check_id(session_id, "session id")
        await self._check(scope, session_id, request)
        new = NewSession(idle_ttl=self._policies.of(scope.app).idle_ttl, hidden=HIDDEN_UNTIL_MESSAGE)
        sid = session_id
        _, created = await retried(lambda: self._store.ensure_session(scope, sid, new))
        if created:
            self._on_created()
        return await self._start(scope, sid, request, Ask("chat", request.text), idempotency_key)

    async def edit(
        self, scope: Scope, session_id: str, seq: int, request: ChatRequest, *, idempotency_key: str | None = None
    ) -> Run:
        """Answer a new wording of the user message `seq`, on a branch beside it. Raises as `chat`, and NotFound."""
        entry = await self._history.get(scope, session_id, seq)
        if not isinstance(entry, Message) or entry.role != "user":
            raise Invalid(f"message {seq} is not a user message; only those can be edited", field="seq")
        await self._check(scope, session_id, request)
        session = await retried(lambda: self._store.find_session(scope, session_id))
        first = 1 if session is None else session.first_seq
        ask = Ask("edit", request.text, parent_seq=entry.parent_seq if entry.parent_seq >= first else 0)
        return await self._start(scope, session_id, request, ask, idempotency_key)

    async def regenerate(
        self, scope: Scope, session_id: str, seq: int, request: ChatRequest, *, idempotency_key: str | None = None
    ) -> Run:
        """Answer again the question that the message `seq` answers (or is), on a branch beside the first answer.

        `request.text` is ignored. Raises as `chat`, and NotFound.
        """
        entry = await self._history.get(scope, session_id, seq)
        while isinstance(entry, Message) and entry.role != "user" and entry.parent_seq:
            entry = await self._history.get(scope, session_id, entry.parent_seq)
        if not isinstance(entry, Message) or entry.role != "user":
            raise Invalid(f"message {seq} answers no user message", field="seq")
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is not None and not on_path(entry.seq, session.path):
            await self._history.select(scope, session_id, entry.seq)
        request = replace(request, text=entry.text)
        await self._check(scope, session_id, request)
        ask = Ask("regenerate", entry.text, parent_seq=entry.seq)
        return await self._start(scope, session_id, request, ask, idempotency_key)

    async def get(self, scope: Scope, run_id: str) -> Run:
        """Return the run. Raises NotFound."""
        run = await retried(lambda: self._store.find_run(scope, run_id))
        if run is None:
            raise NotFound("run", run_id)
        return run

    async def cancel(self, scope: Scope, run_id: str) -> Run:
        """Stop the run, wherever it is generated; what it has said so far is kept. One that is over stays as it is."""
        run = await retried(lambda: self._store.cancel_run(scope, run_id))
        live = self._live.get((scope, run_id))
        if live is not None:
            live.stop()
        return run

    async def follow(self, scope: Scope, run_id: str, *, after: int = 0) -> AsyncGenerator[StreamEvent, None]:
        """Yield the run's events behind number `after`: stored ones with their number, live text without one.

        Ends after `done`. Works on every process that shares the store. A text may come twice, never with a gap:
        `offset` tells where it belongs. Raises NotFound.
        """
        await self.get(scope, run_id)
        position = after
        while True:
            live = self._live.get((scope, run_id))
            if live is not None:
                async for event in live.follow(position):
                    position = event.n or position
                    yield event
                    if event.type == "done":
                        return
            run = await self.get(scope, run_id)
            stored: Sequence[RunEvent] = ()
            if not await self._is_removed(scope, run):
                stored = await retried(partial(self._store.read_events, scope, run_id, after=position))
            for event in map(decode_event, stored):
                position = event.n or position
                yield event
                if event.type == "done":
                    return
            if not stored and run.is_over:
                yield StreamEvent(None, "done", {"status": run.status, "message_seq": run.message_seq, "durable": True})
                return
            if not stored:
                await asyncio.sleep(TAIL_INTERVAL_SECONDS)

    async def _is_removed(self, scope: Scope, run: Run) -> bool:
        """Return whether the answer was cleared or pruned: nobody shall read it from the events, which go later."""
        if run.message_seq is None:
            return False
        session = await retried(lambda: self._store.find_session(scope, run.session_id))
        return session is None or run.message_seq < session.first_seq

    async def pick_up(self, scope: Scope, run_id: str) -> None:
        """Take over a run whose lease is over: start it if it has only waited, else end it as `interrupted`.

        Whatever it had said and stored is kept as its message. Does nothing when somebody else was faster.
        """
        if self._closing:
            return
        run = await self._store.take_run(scope, run_id, lease=LEASE)
        if run is None:
            return
        if run.token == 1 and not run.cancel_requested:
            with contextlib.suppress(ChatkeepError):
                await self._begin(scope, run)
            return
        await self._ended(scope, await recover(self._store, self._history, scope, run))

    @property
    def active_runs(self) -> int:
        """How many answers are being generated here."""
        return len(self._live)

    async def close(self) -> None:
        """Stop every answer that is generated here, keeping what it has said as `interrupted`; repeatable."""
        self._closing = True
        for live in self._live.values():
            live.interrupt()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for aside in self._asides:
            aside.cancel()
        if self._asides:
            await asyncio.wait(self._asides)

    async def _check(self, scope: Scope, session_id: str, request: ChatRequest) -> None:
        if not request.text.strip():
            raise Invalid("message must not be empty", field="message")
        check_messages([user(request.text)])
        self._models.get(request.model)
        if self._agents.configured():
            try:
                toggles = await self._agents.of_session(scope, session_id)
            except NotFound:
                toggles = self._agents.all_enabled()
            choose(toggles, request.agent, request.text)
        elif request.agent is not None:
            raise NotFound("agent", request.agent)

    async def _start(
        self, scope: Scope, session_id: str, request: ChatRequest, ask: Ask, idempotency_key: str | None
    ) -> Run:
        if self._closing:
            raise Unavailable("this server is about to end; send the same request again")
        ask = replace(ask, agent=request.agent, model=request.model)
        body = ask.to_json()
        run_id = new_id()
        if idempotency_key is not None:
            check_id(idempotency_key, "idempotency key")
            run_id = derived_id("run", *_fields(scope), session_id, idempotency_key)
        new = NewRun(id=run_id, request=dump(body), digest=digest_of(body), claimant=new_id())
        queue = request.when_busy != "reject"
        claim = await retried(lambda: self._store.claim_run(scope, session_id, new, lease=LEASE, queue=queue))
        if not claim.attached and claim.run.status == "running":
            beginning = asyncio.create_task(self._begin(scope, claim.run))
            self._keep(beginning)
            await asyncio.shield(beginning)
        elif claim.run.status == "queued" and request.when_busy == "interrupt":
            session = await retried(lambda: self._store.find_session(scope, session_id))
            if session is not None and session.active_run_id not in (None, run_id):
                await self.cancel(scope, str(session.active_run_id))
        return claim.run

    async def _begin(self, scope: Scope, run: Run) -> None:
        """Store the question and let the answer be written by a task of this service."""
        live = LiveRun(run.id, run.session_id)
        self._live[scope, run.id] = live
        try:
            question_seq = await store_question(self._history, scope, run)
        except BaseException as error:
            del self._live[scope, run.id]
            if isinstance(error, ChatkeepError):
                await self._give_up(scope, run, error)
            raise
        task = asyncio.create_task(self._generate(scope, run, live, question_seq), name=f"run {run.id}")
        self._keep(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_up(self, scope: Scope, run: Run, error: ChatkeepError) -> None:
        with contextlib.suppress(NotFound, LeaseLost, StoreError):
            end = await retried(
                lambda: self._store.finish_run(scope, run.id, "failed", token=run.token, error=error.code)
            )
            await self._ended(scope, end)

    async def _generate(self, scope: Scope, run: Run, live: LiveRun, question_seq: int) -> None:
        end: RunEnd | None = None
        try:
            end = await self._generation.write(scope, run, live, question_seq)
        except ChatkeepError as error:
            _log.warning("run %s was not finished here: %s", run.id, error.code)
        finally:
            live.over = True
            live.notify()
            del self._live[scope, run.id]
        if end is not None:
            self._on_answer(scope, run.session_id)
            if end.run.status == "complete" and not self._closing:
                aside = asyncio.create_task(self._entitle(scope, run, live.text), name=f"title of run {run.id}")
                self._asides.add(aside)
                aside.add_done_callback(self._asides.discard)
            await self._ended(scope, end)

    async def _ended(self, scope: Scope, end: RunEnd) -> None:
        self._on_end(end.run)
        if end.next_run_id is not None:
            try:
                await self.pick_up(scope, end.next_run_id)
            except ChatkeepError as error:
                _log.warning("run %s was not started here: %s", end.next_run_id, error.code)

    async def _entitle(self, scope: Scope, run: Run, answer: str) -> None:
        try:
            await self._generation.entitle(scope, run, answer)
        except ChatkeepError as error:
            _log.info("the session of run %s got no title of the model: %s", run.id, error.code)


def _fields(scope: Scope) -> tuple[str, str, str]:
    return scope.tenant, scope.app, scope.user
