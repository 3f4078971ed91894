"""Writing one answer: the question first, then the model's words as stored events, then the answer, once."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from chatkeep.domain.agents import Agent
from chatkeep.domain.errors import LeaseLost, ModelError, NotFound, StoreError
from chatkeep.domain.messages import (
    Content,
    MessageStatus,
    NewMessage,
    Part,
    Reasoning,
    Text,
    Usage,
)
from chatkeep.domain.prompts import Window, recent_turns
from chatkeep.domain.runs import Run, RunEnd, RunOutcome
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import SessionPatch
from chatkeep.ports.models import (
    ChatModel,
    Finished,
    ModelCatalog,
    ModelRequest,
    PromptMessage,
    ReasoningDelta,
    TextDelta,
)
from chatkeep.ports.store import Store
from chatkeep.services.agents import AgentService
from chatkeep.services.answers import StoredAnswer, store_answer
from chatkeep.services.asks import Ask
from chatkeep.services.assisting import suggestions_for, title_for
from chatkeep.services.events import EventWriter
from chatkeep.services.history import HistoryService
from chatkeep.services.live import LiveRun
from chatkeep.services.retrying import retried

LEASE = timedelta(seconds=15)
PERSIST_INTERVAL_SECONDS = 0.2
MAX_ANSWER_BYTES = 240 * 1024
"""A longer answer is cut and marked `partial`: a message holds at most 256 KiB."""

_PATH_READ = 400
_UNSAVED_CHARS = 2_000
_FIRST_TURN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """`budget_tokens`: what of the conversation the model gets. `assist`: titles and suggestions by the model."""

    budget_tokens: int = 8192
    assist: bool = True


@dataclass(slots=True)
class Answer:
    """What the model has said so far, and how it ended."""

    reasoning: str = ""
    finished: Finished | None = None
    error: ModelError | None = None
    cut: bool = False
    pieces: list[str] = field(default_factory=list)


def prompt_of(window: Window, agent: Agent | None) -> ModelRequest:
    """Return the request to the model: the agent's instructions, then the messages in their own roles."""
    messages = [PromptMessage(entry.role, entry.parts) for entry in window.included]
    if agent is not None and agent.instructions:
        messages.insert(0, PromptMessage("system", (Text(agent.instructions),)))
    return ModelRequest(tuple(messages))


async def produce(model: ChatModel, request: ModelRequest, answer: Answer, live: LiveRun) -> None:
    """Let the model speak into `live` until it ends, fails, or has said as much as a message can hold."""
    size = 0
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    size += len(event.text.encode())
                    if size > MAX_ANSWER_BYTES:
                        answer.cut = True
                        return
                    live.say(event.text)
                elif isinstance(event, ReasoningDelta):
                    if len(answer.reasoning) < _UNSAVED_CHARS:
                        answer.reasoning += event.text
                else:
                    answer.finished = event
    except ModelError as error:
        answer.error = error


class Generation:
    """The steps of one answer, each repeatable, so that a retry or another process can finish what one began."""

    def __init__(
        self,
        store: Store,
        history: HistoryService,
        models: ModelCatalog,
        agents: AgentService,
        settings: GenerationSettings,
    ) -> None:
        self._store = store
        self._history = history
        self._models = models
        self._agents = agents
        self._settings = settings

    async def write(self, scope: Scope, run: Run, live: LiveRun, question_seq: int) -> RunEnd | None:
        """Generate and store the answer; None when the run was lost to another owner. Raises StoreError, NotFound."""
        begun = time.monotonic()
        writer = EventWriter(self._store, scope, run, live, LEASE)
        model = self._models.get(None)
        answer = Answer()
        agent: Agent | None = None
        try:
            ask = Ask.from_run(run)
            agent = await self._agents.pick(scope, run.session_id, ask.agent, ask.text, model)
            model = self._models.get(ask.model or (agent.model if agent else None))
            path = await self._history.read(scope, run.session_id, before_seq=question_seq + 1, limit=_PATH_READ)
            window = recent_turns(path[::-1], budget_tokens=self._settings.budget_tokens)
            writer.add("run", {"run_id": run.id, "session_id": run.session_id, "message_seq": question_seq})
            writer.add("context", _context_event(window, agent, self._settings.budget_tokens))
            if not (await writer.keep()).lease_ok:
                return None
            outcome = await self._stream(model, prompt_of(window, agent), answer, live, writer)
        except LeaseLost:
            return None
        status = _status(outcome, answer)
        suggestions: tuple[str, ...] = ()
        if status == "complete" and self._settings.assist and model.can_assist:
            suggestions = await suggestions_for(model, ask.text, live.text)
        content = Content(
            parts=_parts(answer, live.text),
            agent_name=agent.name if agent else None,
            model=answer.finished.model if answer.finished else model.name,
            finish_reason="length" if answer.cut else answer.finished.finish_reason if answer.finished else None,
            usage=answer.finished.usage if answer.finished else None,
            duration_ms=round((time.monotonic() - begun) * 1000),
            suggestions=suggestions,
            run_id=run.id,
            error=answer.error.code if answer.error else None,
        )
        end = await self._finish(scope, run, writer, outcome, question_seq, NewMessage("assistant", content, status))
        if status == "complete" and self._settings.assist and model.can_assist:
            await self._entitle(scope, run, model, ask.text, live.text)
        return end

    async def _stream(
        self, model: ChatModel, request: ModelRequest, answer: Answer, live: LiveRun, writer: EventWriter
    ) -> RunOutcome:
        """Pass the model's words on, storing them in time; return how it ended. Raises LeaseLost."""
        producer = asyncio.create_task(produce(model, request, answer, live))
        try:
            while not producer.done():
                await live.pause(producer, PERSIST_INTERVAL_SECONDS, unsaved=_UNSAVED_CHARS + writer.saved_chars)
                signal = await writer.keep()
                if not signal.lease_ok:
                    raise LeaseLost(live.run_id)
                if signal.cancel or live.cancel.is_set():
                    return "interrupted" if live.interrupted else "cancelled"
            await producer
        finally:
            if not producer.done():
                producer.cancel()
                await asyncio.wait([producer])
        return "failed" if answer.error else "complete"

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

    async def _entitle(self, scope: Scope, run: Run, model: ChatModel, question: str, answer: str) -> None:
        session = await retried(lambda: self._store.find_session(scope, run.session_id))
        if session is None or session.title_source != "auto" or session.message_count > _FIRST_TURN:
            return
        title = await title_for(model, question, answer)
        if title is not None:
            patch = SessionPatch(title=title, title_source="model")
            await retried(lambda: self._store.update_session(scope, run.session_id, patch))


def _status(outcome: RunOutcome, answer: Answer) -> MessageStatus:
    cut = answer.cut or (answer.finished is not None and answer.finished.finish_reason == "length")
    return "partial" if outcome == "complete" and cut else outcome


def _parts(answer: Answer, text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    if answer.reasoning:
        parts.append(Reasoning(answer.reasoning))
    if text:
        parts.append(Text(text))
    return tuple(parts)


def usage_event(usage: Usage) -> dict[str, Any]:
    """Return the data of a `usage` event."""
    return {name: value for name, value in asdict(usage).items() if value is not None}


def message_event(stored: StoredAnswer) -> dict[str, Any]:
    """Return the data of a `message` event: what was stored, and where."""
    message = stored.message
    if message is None:
        return {"seq": stored.seq}
    return {"seq": stored.seq, "id": message.id, "status": message.status, "parent_seq": message.parent_seq}


def _context_event(window: Window, agent: Agent | None, budget_tokens: int) -> dict[str, Any]:
    seqs = [entry.seq for entry in window.included]
    return {
        "included": [seqs[0], seqs[-1]] if seqs else None,
        "messages": len(seqs),
        "omitted": window.omitted,
        "reason": "the newest whole turns within the budget",
        "tokens": window.tokens,
        "budget_tokens": budget_tokens,
        "agent": agent.name if agent else None,
    }
