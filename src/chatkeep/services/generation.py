"""Writing one answer: the question first, then the model's words as stored events, then the answer, once."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from chatkeep.domain.agents import Agent
from chatkeep.domain.context import Prompt
from chatkeep.domain.errors import ChatkeepError, ContextOverflow, Invalid, LeaseLost, NotFound, StoreError
from chatkeep.domain.messages import Content, NewMessage, Usage
from chatkeep.domain.runs import Run, RunEnd, RunOutcome
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import SessionPatch
from chatkeep.ports.models import ChatModel, ModelCatalog, ModelRequest
from chatkeep.ports.store import Store
from chatkeep.services.agents import AgentService
from chatkeep.services.answers import StoredAnswer, store_answer
from chatkeep.services.asks import Ask
from chatkeep.services.assisting import Extras, extras_for, title_for
from chatkeep.services.context import ContextService, Question
from chatkeep.services.events import EventWriter
from chatkeep.services.history import HistoryService
from chatkeep.services.lines import TurnLines
from chatkeep.services.live import LiveRun
from chatkeep.services.producing import Answer, Stopped, attended, produce
from chatkeep.services.retrying import retried

LEASE = timedelta(seconds=15)
_FIRST_TURN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """`assist`: titles and suggestions by the model."""

    assist: bool = True


class Generation:
    """The steps of one answer, each repeatable, so that a retry or another process can finish what one began."""

    def __init__(
        self,
        store: Store,
        history: HistoryService,
        models: ModelCatalog,
        agents: AgentService,
        context: ContextService,
        settings: GenerationSettings,
    ) -> None:
        self._store = store
        self._history = history
        self._models = models
        self._agents = agents
        self._context = context
        self._lines = TurnLines(store)
        self._settings = settings

    async def write(self, scope: Scope, run: Run, live: LiveRun, question_seq: int) -> RunEnd | None:
        """Generate and store the answer; None when the run was lost to another owner. Raises StoreError, NotFound."""
        writer = EventWriter(self._store, scope, run, live, LEASE)
        answer = Answer()
        try:
            content = await self._say(scope, run, live, question_seq, writer, answer)
        except LeaseLost:
            return None
        said = NewMessage("assistant", content, answer.status)
        return await self._finish(scope, run, writer, answer.outcome, question_seq, said)

    async def _say(
        self, scope: Scope, run: Run, live: LiveRun, question_seq: int, writer: EventWriter, answer: Answer
    ) -> Content:
        """Let the model answer, and return what is to be stored. Raises LeaseLost, StoreError, NotFound."""
        begun = time.monotonic()
        ask = Ask.from_run(run)
        agent: Agent | None = None
        model: ChatModel | None = None
        prompt: Prompt | None = None
        report: dict[str, Any] | None = None
        extras = Extras()
        writer.add("run", {"run_id": run.id, "session_id": run.session_id, "message_seq": question_seq})
        try:
            if ask.agent is not None or self._agents.configured():
                agent = await attended(self._pick(scope, run, ask), live, writer)
            model = self._models.get(ask.model or (agent.model if agent else None))
            question = Question(
                upto_seq=question_seq,
                system=(agent.instructions,) if agent else (),
                model=model.name,
                window_tokens=model.window_tokens,
            )
            prompt = (await self._context.prepare(scope, run.session_id, question)).prompt
            report = prompt.report.to_json()
            writer.add("context", {**report, "messages": len(prompt.messages), "agent": agent.name if agent else None})
            await attended(produce(model, ModelRequest(prompt.messages), answer, live), live, writer)
        except Stopped:
            answer.outcome = "interrupted" if live.interrupted else "cancelled"
        except (Invalid, ContextOverflow) as error:
            answer.fail(error)
        duration_ms = round((time.monotonic() - begun) * 1000)
        if model is not None and self._may_assist(model) and answer.status == "complete":
            with contextlib.suppress(Stopped):
                extras = await attended(extras_for(model, ask.text, live.text), live, writer)
        usage = answer.finished.usage if answer.finished else None
        if model is not None and prompt is not None and usage is not None and usage.input_tokens:
            with contextlib.suppress(ChatkeepError):  # an answer does without
                await self._context.learn(scope, run.session_id, model.name, prompt, reported_tokens=usage.input_tokens)
        if extras.line is not None:
            await self._keep_line(scope, run, question_seq, extras.line)
        named = None if model is None else model.name
        return Content(
            parts=answer.parts(live.text),
            agent_name=agent.name if agent else None,
            model=answer.finished.model if answer.finished else named,
            finish_reason="length" if answer.cut else answer.finished.finish_reason if answer.finished else None,
            usage=usage,
            duration_ms=duration_ms,
            suggestions=extras.suggestions,
            run_id=run.id,
            error=answer.error,
            context=report,
        )

    async def _pick(self, scope: Scope, run: Run, ask: Ask) -> Agent | None:
        """Raises Invalid, also for an agent that is no longer there."""
        toggles = await self._agents.of_session(scope, run.session_id)
        try:
            return await self._agents.pick(toggles, ask.agent, ask.text, self._models.get(None))
        except NotFound as error:
            raise Invalid(str(error), field="agent") from error

    async def _keep_line(self, scope: Scope, run: Run, question_seq: int, line: str) -> None:
        """Keep the line of the turn; an answer does without one when the store fails."""
        with contextlib.suppress(ChatkeepError):
            await self._lines.put(scope, run.session_id, question_seq, line, incarnation=run.incarnation)

    def _may_assist(self, model: ChatModel) -> bool:
        return self._settings.assist and model.can_assist

    async def _finish(
        self, scope: Scope, run: Run, writer: EventWriter, outcome: RunOutcome, question_seq: int, answer: NewMessage
    ) -> RunEnd | None:
        content = answer.content
        try:
            session = await retried(lambda: self._store.find_session(scope, run.session_id))
            if session is None:
                raise NotFound("session", run.session_id)
            stored = await store_answer(self._history, scope, run, question_seq, session, answer)
        except StoreError as error:
            writer.tell_unstored(error.code)
            raise
        if not stored.by_us:
            return None
        if content.usage is not None:
            writer.add("usage", usage_event(content.usage))
        if content.suggestions:
            writer.add("suggestions", {"items": list(content.suggestions)})
        if content.error is not None:
            writer.add("error", {"code": content.error})
        writer.add("message", message_event(stored))
        writer.add("done", {"status": outcome, "message_seq": stored.seq, "durable": stored.seq is not None})
        try:
            return await writer.finish(outcome, message_seq=stored.seq, error=content.error)
        except LeaseLost:
            return None

    async def entitle(self, scope: Scope, run: Run, answer: str) -> None:
        """Let the model write the title of a session whose first answer this is. Raises StoreError, NotFound.

        A title that a user has set stays.
        """
        ask = Ask.from_run(run)
        model = self._models.get(ask.model)
        session = await retried(lambda: self._store.find_session(scope, run.session_id))
        if session is None or session.title_source != "auto" or session.message_count > _FIRST_TURN:
            return
        title = await title_for(model, ask.text, answer) if self._may_assist(model) else None
        if title is not None:
            patch = SessionPatch(title=title, title_source="model")
            await retried(lambda: self._store.update_session(scope, run.session_id, patch))


def usage_event(usage: Usage) -> dict[str, Any]:
    """Return the data of a `usage` event."""
    return {name: value for name, value in asdict(usage).items() if value is not None}


def message_event(stored: StoredAnswer) -> dict[str, Any]:
    """Return the data of a `message` event: what was stored, and where."""
    message = stored.message
    if message is None:
        return {"seq": stored.seq}
    return {"seq": stored.seq, "id": message.id, "status": message.status, "parent_seq": message.parent_seq}
