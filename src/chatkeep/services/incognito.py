"""Chats that leave no trace: the page holds the transcript, and this keeps nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid, LimitExceeded
from chatkeep.domain.limits import check_size
from chatkeep.domain.messages import NewMessage, Part, Text, user
from chatkeep.domain.prompts import PromptMessage
from chatkeep.ports.models import ChatModel, ModelCatalog, ModelRequest
from chatkeep.services.agents import AgentService
from chatkeep.services.generation import usage_event
from chatkeep.services.live import EventData, LiveRun, StreamEvent
from chatkeep.services.producing import Answer, produce

MAX_TRANSCRIPT_MESSAGES = 1_000
MAX_TRANSCRIPT_BYTES = 4 * 1024 * 1024
_BYTES_PER_TOKEN = 3


class IncognitoService:
    """Answers that are stored nowhere: no session, no run, no log line of their content."""

    def __init__(self, models: ModelCatalog, agents: AgentService, policy: ContextPolicy) -> None:
        self._models = models
        self._agents = agents
        self._budget_tokens = policy.tmax_tokens

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
        chosen = await self._agents.pick(self._agents.all_enabled(), agent, text, self._models.get(None))
        backend = self._models.get(model or (chosen.model if chosen else None))
        included = self._within_budget(transcript)
        prompt = [PromptMessage(message.role, message.content.parts) for message in included]
        if chosen is not None and chosen.instructions:
            prompt.insert(0, PromptMessage("system", (Text(chosen.instructions),)))
        request = ModelRequest((*prompt, PromptMessage("user", (Text(text),))))
        context = {
            "messages": len(included),
            "omitted": len(transcript) - len(included),
            "agent": chosen.name if chosen else None,
        }
        return _events(backend, request, context)

    def _within_budget(self, transcript: Sequence[NewMessage]) -> Sequence[NewMessage]:
        left = self._budget_tokens * _BYTES_PER_TOKEN
        for at in range(len(transcript) - 1, -1, -1):
            left -= _bytes(transcript[at].content.parts)
            if left < 0:
                return _from_turn(transcript[at + 1 :])
        return transcript


def _from_turn(messages: Sequence[NewMessage]) -> Sequence[NewMessage]:
    """Return the messages from the first one of the user on, so that no tool result stands without its call."""
    begin = next((at for at, message in enumerate(messages) if message.role == "user"), len(messages))
    return messages[begin:]


def _bytes(parts: Sequence[Part]) -> int:
    return sum(len(part.text.encode()) if isinstance(part, Text) else len(repr(part)) for part in parts)


async def _events(model: ChatModel, request: ModelRequest, context: EventData) -> AsyncGenerator[StreamEvent, None]:
    live = LiveRun("", "")
    live.stored = [StreamEvent(None, "run", {"incognito": True}), StreamEvent(None, "context", context)]
    answer = Answer()

    def ended(_task: asyncio.Task[None]) -> None:
        live.over = True
        live.notify()

    task = asyncio.create_task(produce(model, request, answer, live))
    task.add_done_callback(ended)
    try:
        async for event in live.follow(-1):
            yield event
        await task
        if answer.finished is not None and answer.finished.usage is not None:
            yield StreamEvent(None, "usage", usage_event(answer.finished.usage))
        if answer.error is not None:
            yield StreamEvent(None, "error", {"code": answer.error})
        yield StreamEvent(None, "message", {"text": live.text, "status": answer.status})
        yield StreamEvent(None, "done", {"status": answer.outcome, "durable": False})
    finally:
        task.cancel()
        await asyncio.wait([task])
