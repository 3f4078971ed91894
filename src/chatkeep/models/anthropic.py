"""Anthropic's messages, by its official client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent

from chatkeep.domain.errors import ModelError
from chatkeep.domain.messages import File, Part, ToolCall, ToolResult, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.answers import (
    MALFORMED,
    Answer,
    broke_off,
    closed,
    nothing_to_send,
    said_by,
    status_error,
    timed_out,
    unreachable,
)
from chatkeep.models.prompts import all_words, is_linked_image, json_object, result_text, words
from chatkeep.ports.models import ModelEvent, ModelRequest

_MAX_TOKENS = 4096
_FIRST_ERROR_STATUS = 400
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class AnthropicModel:
    """Speaks to Anthropic, or to a server at `base_url` that speaks its protocol.

    Without `api_key`, Anthropic itself gets the credentials that its client finds in the environment, and any other
    server gets none. The server demands a bound of the answer: 4,096 tokens unless the request has its own.
    `timeout_seconds` bounds every silence of the server.
    """

    can_assist = True
    window_tokens = None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 60,
    ) -> None:
        self.name = f"anthropic:{model}"
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._closed = False
        is_keyless = base_url is not None and not api_key
        self._headers = {"Authorization": anthropic.omit, "X-Api-Key": anthropic.omit} if is_keyless else {}
        self._client = anthropic.AsyncAnthropic(
            api_key="unused" if is_keyless else api_key,
            base_url=base_url,
            timeout=timeout_seconds,
            max_retries=0,
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """See ChatModel; an answer is whole when `message_stop` has come.

        The input tokens of the usage include those that were read from the cache or written to it.
        """
        if self._closed:
            raise closed(self.name)
        body = to_body(request.messages)
        if not body["messages"]:
            raise nothing_to_send(self.name)
        answer = _AnthropicAnswer(self.name, self._model)
        try:
            async with await self._client.messages.create(
                **body,
                model=self._model,
                max_tokens=_MAX_TOKENS if request.max_output_tokens is None else request.max_output_tokens,
                stream=True,
                extra_headers=self._headers,
            ) as events:
                answer.has_begun = True
                async for event in events:
                    for piece in answer.read(event):
                        yield piece
        except (anthropic.AnthropicError, httpx2.HTTPError, OSError, *MALFORMED) as error:
            raise self._failure(error, has_begun=answer.has_begun) from error
        for piece in answer.end():
            yield piece

    async def close(self) -> None:
        """See ChatModel."""
        self._closed = True
        await self._client.close()

    def _failure(self, error: Exception, *, has_begun: bool) -> ModelError:
        if self._closed:
            return closed(self.name)
        if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
            return timed_out(self.name, self._timeout_seconds)
        if isinstance(error, anthropic.APIStatusError):
            said = said_by(error.body, error.message)
            # An error event in the stream comes with the status of the answer that it is part of: a success.
            is_event = error.status_code < _FIRST_ERROR_STATUS
            return broke_off(self.name, said) if is_event else status_error(self.name, error.status_code, said)
        return broke_off(self.name, error) if has_begun else unreachable(self.name, error)


class _AnthropicAnswer(Answer):
    """Gathers what the events tell bit by bit: the counts, and a stop reason that holds from `message_stop` on."""

    def __init__(self, name: str, model: str) -> None:
        super().__init__(name, model)
        self._stop_reason = "stop"
        self._counts: dict[str, Any] = {}

    def read(self, event: RawMessageStreamEvent) -> Iterator[ModelEvent]:
        if event.type == "message_start":
            self.model = event.message.model or self.model
            self._counts |= event.message.usage.to_dict()
        elif event.type == "content_block_delta":
            if event.delta.type == "text_delta":
                yield from self.add(text=event.delta.text)
            elif event.delta.type == "thinking_delta":
                yield from self.add(reasoning=event.delta.thinking)
        elif event.type == "message_delta":
            self._stop_reason = event.delta.stop_reason or self._stop_reason
            self._counts |= event.usage.to_dict(exclude_none=True)
        elif event.type == "message_stop":
            self.finish_reason = _FINISH_REASONS.get(self._stop_reason, self._stop_reason)
            self.usage = _usage(self._counts)


def to_body(prompt: Iterable[PromptMessage]) -> dict[str, Any]:
    """Return what of the request comes from the prompt: `messages`, and where needed `system` and `tools`.

    Neighbours of one role become one message, and a message of which nothing can be sent is left out. The server
    refuses tool calls in the transcript of a request without tools, so those that were called are
    declared, and may not be used.
    """
    system: list[str] = []
    messages: list[dict[str, Any]] = []
    tools: dict[str, dict[str, Any]] = {}
    for message in prompt:
        if message.role == "system":
            system += filter(None, [all_words(message.parts)])
            continue
        results = [_result(part) for part in message.parts if isinstance(part, ToolResult)]
        if message.role == "assistant":
            _extend(messages, "assistant", _blocks(message.parts, is_assistant=True))
            _extend(messages, "user", results)
        else:
            _extend(messages, "user", [*results, *_blocks(message.parts, is_assistant=False)])
        calls = [part for part in message.parts if isinstance(part, ToolCall) and message.role == "assistant"]
        tools |= {call.name: {"name": call.name, "input_schema": {"type": "object"}} for call in calls}
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = "\n\n".join(system)
    if tools:
        body |= {"tools": list(tools.values()), "tool_choice": {"type": "none"}}
    return body


def _extend(messages: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    if blocks and messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    elif blocks:
        messages.append({"role": role, "content": blocks})


def _blocks(parts: Iterable[Part], *, is_assistant: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, ToolCall) and is_assistant:
            blocks.append({"type": "tool_use", "id": part.id, "name": part.name, "input": json_object(part.arguments)})
        elif isinstance(part, File) and is_linked_image(part) and not is_assistant:
            blocks.append({"type": "image", "source": {"type": "url", "url": part.url}})
        elif (said := words(part)) is not None:
            blocks.append({"type": "text", "text": said})
    return blocks


def _result(result: ToolResult) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": result.id,
        "content": result_text(result),
        "is_error": result.is_error,
    }


def _usage(counts: Mapping[str, Any]) -> Usage | None:
    if "input_tokens" not in counts:
        return None
    cached = counts.get("cache_read_input_tokens")
    written = counts.get("cache_creation_input_tokens")
    return Usage(counts["input_tokens"] + (cached or 0) + (written or 0), counts.get("output_tokens"), cached)
