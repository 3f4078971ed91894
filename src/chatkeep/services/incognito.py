"""Chats that leave no trace: the page holds the transcript, and this keeps nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from chatkeep.domain.agents import Agent, choose
from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid, LimitExceeded, NotFound
from chatkeep.domain.limits import check_size
from chatkeep.domain.messages import NewMessage, Part, Text, user
from chatkeep.ports.models import ModelCatalog, ModelRequest, PromptMessage
from chatkeep.services.agents import AgentService
from chatkeep.services.generation import Answer, GenerationSettings, produce, usage_event
from chatkeep.services.live import LiveRun, StreamEvent

MAX_TRANSCRIPT_MESSAGES = 1_000
MAX_TRANSCRIPT_BYTES = 4 * 1024 * 1024
_BYTES_PER_TOKEN = 3


class IncognitoService:
    """Answers that are stored nowhere: no session, no run, no log line of their content."""

    def __init__(self, models: ModelCatalog, agents: AgentService, settings: GenerationSettings) -> None:
        self._models = models
        self._agents = agents
        self._settings = settings

    async def chat(
        self, transcript: Sequence[NewMessage], text: str, *, agent: str | None = None, model: str | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Check the request and return the events of its answer: `run`, `context`, `delta`, `usage`, `message`, `done`.

        No event has a number: nothing can be resumed. Closing the generator ends the answer. Raises Invalid,
        LimitExceeded, NotFound (agent).
        """
        if not text.strip():
            raise Invalid("message must not be empty", field="message")
        if len(transcript) > MAX_TRANSCRIPT_MESSAGES:
            raise LimitExceeded("transcript", actual=len(transcript), limit=MAX_TRANSCRIPT_MESSAGES, unit="messages")
        check_messages([*transcript, user(text)])
        size = sum(_bytes(message.content.parts) for message in transcript)
        check_size("transcript", size, MAX_TRANSCRIPT_BYTES)
        chosen: Agent | None = None
        if self._agents.configured():
            chosen = choose(self._agents.all_enabled(), agent, text)
        elif agent is not None:
            raise NotFound("agent", agent)
        backend = self._models.get(model or (chosen.model if chosen else None))
        included = self._within_budget(transcript)
        prompt = [PromptMessage(message.role, message.content.parts) for message in included]
        if chosen is not None and chosen.instructions:
            prompt.insert(0, PromptMessage("system", (Text(chosen.instructions),)))
        request = ModelRequest((*prompt, PromptMessage("user", (Text(text),))))
        live = LiveRun("", "")
        answer = Answer()
        task = asyncio.create_task(produce(backend, request, answer, live))
        return _events(task, live, answer, len(included), len(transcript), chosen)

    def _within_budget(self, transcript: Sequence[NewMessage]) -> Sequence[NewMessage]:
        left = self._settings.budget_tokens * _BYTES_PER_TOKEN
        for at in range(len(transcript) - 1, -1, -1):
            left -= _bytes(transcript[at].content.parts)
            if left < 0:
                return transcript[at + 1 :]
        return transcript


def _bytes(parts: Sequence[Part]) -> int:
    return sum(len(part.text.encode()) if isinstance(part, Text) else len(repr(part)) for part in parts)


async def _events(
    task: asyncio.Task[None], live: LiveRun, answer: Answer, included: int, given: int, agent: Agent | None
) -> AsyncGenerator[StreamEvent, None]:
    def ended(_task: asyncio.Task[None]) -> None:
        live.over = True
        live.notify()

    task.add_done_callback(ended)
    try:
        yield StreamEvent(None, "run", {"incognito": True})
        name = agent.name if agent else None
        yield StreamEvent(None, "context", {"messages": included, "omitted": given - included, "agent": name})
        async for event in live.follow(0):
            yield event
        await task
        if answer.finished is not None and answer.finished.usage is not None:
            yield StreamEvent(None, "usage", usage_event(answer.finished.usage))
        status = "failed" if answer.error else "partial" if answer.cut else "complete"
        if answer.error is not None:
            yield StreamEvent(None, "error", {"code": answer.error.code})
        yield StreamEvent(None, "message", {"text": live.text, "status": status})
        yield StreamEvent(None, "done", {"status": status, "durable": False})
    finally:
        task.cancel()
        await asyncio.wait([task])
