"""Ollama's native protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Any, cast

import httpx
import ollama

from chatkeep.domain.errors import ModelError
from chatkeep.domain.messages import ToolCall, ToolResult, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.answers import (
    MALFORMED,
    Answer,
    broke_off,
    closed,
    nothing_to_send,
    status_error,
    timed_out,
    unreachable,
)
from chatkeep.models.prompts import all_words, json_object, result_text_with_outcome
from chatkeep.ports.models import ModelEvent, ModelRequest

DEFAULT_BASE_URL = "http://127.0.0.1:11434"
_NO_STATUS = -1


class OllamaModel:
    """Speaks to the Ollama server at `base_url`.

    `num_ctx` is the window, in tokens, that the server is asked for. It is always sent: left to itself the server takes
    a small one and cuts longer prompts without a word. `timeout_seconds` bounds every silence of the server, and the
    loading of a model is one.
    """

    can_assist = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        timeout_seconds: float = 60,
        num_ctx: int = 8192,
    ) -> None:
        self.name = f"ollama:{model}"
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._num_ctx = num_ctx
        self.window_tokens = num_ctx
        self._closed = False
        self._client = ollama.AsyncClient(
            base_url or DEFAULT_BASE_URL,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=None),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """See ChatModel; an answer is whole when its last object is `done`."""
        if self._closed:
            raise closed(self.name)
        messages = to_messages(request.messages)
        if not messages:
            raise nothing_to_send(self.name)
        options = {"num_ctx": self._num_ctx}
        if request.max_output_tokens is not None:
            options["num_predict"] = request.max_output_tokens
        answer = Answer(self.name, self._model)
        try:
            stream = await self._client.chat(self._model, messages, stream=True, options=options)
            async with aclosing(cast("AsyncGenerator[ollama.ChatResponse, None]", stream)) as responses:
                async for response in responses:
                    answer.has_begun = True
                    for event in _read(response, answer):
                        yield event
        except (ollama.ResponseError, httpx.HTTPError, OSError, *MALFORMED) as error:
            raise self._failure(error, has_begun=answer.has_begun) from error
        for event in answer.end():
            yield event

    async def close(self) -> None:
        """See ChatModel."""
        self._closed = True
        await self._client.close()  # type: ignore[no-untyped-call]  # the package leaves it unannotated

    def _failure(self, error: Exception, *, has_begun: bool) -> ModelError:
        if self._closed:
            return closed(self.name)
        if isinstance(error, httpx.TimeoutException):
            return timed_out(self.name, self._timeout_seconds)
        if isinstance(error, ollama.ResponseError) and error.status_code != _NO_STATUS:
            return status_error(self.name, error.status_code, str(error.error))
        if isinstance(error, ollama.ResponseError):
            return broke_off(self.name, str(error.error))
        return broke_off(self.name, error) if has_begun else unreachable(self.name, error)


async def reachable(base_url: str, timeout_seconds: float) -> list[str] | None:
    """Return the names of the models of the Ollama server at `base_url`, newest first; None if there is no server."""
    client = ollama.AsyncClient(base_url, timeout=timeout_seconds)
    try:
        listed = await client.list()
    except (ollama.ResponseError, httpx.HTTPError, OSError, *MALFORMED):
        # Malformed: something else listens there.
        return None
    finally:
        await client.close()  # type: ignore[no-untyped-call]  # the package leaves it unannotated
    return [entry.model for entry in listed.models if entry.model]


def to_messages(prompt: Iterable[PromptMessage]) -> list[dict[str, Any]]:
    """Return the prompt as Ollama's messages; a message of which nothing can be sent is left out.

    The server takes images as bytes only, which Chatkeep does not have, so a linked image is mentioned in the text.
    """
    converted: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in prompt:
        calls = [part for part in message.parts if isinstance(part, ToolCall) and message.role == "assistant"]
        names |= {call.id: call.name for call in calls}
        results: list[dict[str, Any]] = [
            {
                "role": "tool",
                "content": result_text_with_outcome(part),
                "tool_name": names.get(part.id, part.id),
            }
            for part in message.parts
            if isinstance(part, ToolResult)
        ]
        said = _said(message, calls)
        converted += [*said, *results] if message.role == "assistant" else [*results, *said]
    return converted


def _said(message: PromptMessage, calls: list[ToolCall]) -> list[dict[str, Any]]:
    content = all_words(message.parts)
    if not content and not calls:
        return []
    # Text in a tool message that names no tool would be read as a result, so it goes as the user's.
    said: dict[str, Any] = {"role": "user" if message.role == "tool" else message.role, "content": content}
    if calls:
        said["tool_calls"] = [
            {"function": {"name": call.name, "arguments": json_object(call.arguments)}} for call in calls
        ]
    return [said]


def _read(response: ollama.ChatResponse, answer: Answer) -> Iterator[ModelEvent]:
    yield from answer.add(reasoning=response.message.thinking, text=response.message.content)
    if response.done:
        answer.model = response.model or answer.model
        answer.finish_reason = response.done_reason or "stop"
        answer.usage = Usage(response.prompt_eval_count, response.eval_count)
