"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, LM Studio, OpenRouter and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, cast

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from chatkeep.domain.errors import Invalid, ModelError
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
from chatkeep.models.prompts import all_words, clean, is_linked_image, json_text, result_text_with_outcome, words
from chatkeep.ports.models import ModelEvent, ModelRequest


class OpenAIModel:
    """Speaks to `base_url` (which ends in `/v1` for most servers), or to OpenAI itself.

    Without `api_key`, OpenAI itself gets the one in OPENAI_API_KEY, and any other server gets none: a key is never sent
    where it was not meant for. Raises Invalid if OpenAI itself shall be used and there is no key. `timeout_seconds`
    bounds every silence of the server.
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
        self.name = f"openai:{model}"
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._closed = False
        is_keyless = base_url is not None and not api_key
        self._headers = {"Authorization": openai.omit} if is_keyless else {}
        # OpenAI's newer models refuse max_tokens; many other servers know nothing else.
        self._bound = "max_completion_tokens" if base_url is None else "max_tokens"
        try:
            self._client = openai.AsyncOpenAI(
                api_key="unused" if is_keyless else api_key,
                base_url=base_url,
                timeout=timeout_seconds,
                max_retries=0,
            )
        except openai.OpenAIError as error:
            raise Invalid(
                f"{self.name} needs an API key; set OPENAI_API_KEY, or a base URL for another server",
                field="api_key",
            ) from error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """See ChatModel; an answer is whole when the server has named its finish reason."""
        if self._closed:
            raise closed(self.name)
        messages = to_messages(request.messages)
        if not messages:
            raise nothing_to_send(self.name)
        answer = Answer(self.name, self._model)
        try:
            async with await self._client.chat.completions.create(
                model=self._model,
                messages=cast("list[ChatCompletionMessageParam]", messages),
                stream=True,
                stream_options={"include_usage": True},
                extra_headers=self._headers,
                extra_body={} if request.max_output_tokens is None else {self._bound: request.max_output_tokens},
            ) as chunks:
                answer.has_begun = True
                async for chunk in chunks:
                    for event in _read(chunk, answer):
                        yield event
        except (openai.OpenAIError, httpx2.HTTPError, OSError, *MALFORMED) as error:
            raise self._failure(error, has_begun=answer.has_begun) from error
        for event in answer.end():
            yield event

    async def close(self) -> None:
        """See ChatModel."""
        self._closed = True
        await self._client.close()

    def _failure(self, error: Exception, *, has_begun: bool) -> ModelError:
        if self._closed:
            return closed(self.name)
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            return timed_out(self.name, self._timeout_seconds)
        if isinstance(error, openai.APIStatusError):
            return status_error(self.name, error.status_code, said_by(error.body, error.message))
        return broke_off(self.name, error) if has_begun else unreachable(self.name, error)


def to_messages(prompt: Iterable[PromptMessage]) -> list[dict[str, Any]]:
    """Return the prompt as OpenAI's messages; a message of which nothing can be sent is left out."""
    converted: list[dict[str, Any]] = []
    for message in prompt:
        results: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": part.id, "content": result_text_with_outcome(part)}
            for part in message.parts
            if isinstance(part, ToolResult)
        ]
        said = _said(message)
        converted += [*said, *results] if message.role == "assistant" else [*results, *said]
    return converted


def _said(message: PromptMessage) -> list[dict[str, Any]]:
    content = _content(message.parts, with_images=message.role == "user")
    calls = [
        {
            "id": part.id,
            "type": "function",
            "function": {
                "name": part.name,
                "arguments": clean(part.arguments) if isinstance(part.arguments, str) else json_text(part.arguments),
            },
        }
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    if calls and message.role == "assistant":
        return [{"role": "assistant", "content": content or None, "tool_calls": calls}]
    # A tool message without a call to answer is refused, so its text goes as the user's.
    role = "user" if message.role == "tool" else message.role
    return [{"role": role, "content": content}] if content else []


def _content(parts: Sequence[Part], *, with_images: bool) -> str | list[dict[str, Any]]:
    if not with_images or not any(map(is_linked_image, parts)):
        return all_words(parts)
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, File) and is_linked_image(part):
            content.append({"type": "image_url", "image_url": {"url": part.url}})
        elif (said := words(part)) is not None:
            content.append({"type": "text", "text": said})
    return content


def _read(chunk: ChatCompletionChunk, answer: Answer) -> Iterator[ModelEvent]:
    answer.model = chunk.model or answer.model
    if chunk.usage is not None:
        details = chunk.usage.prompt_tokens_details
        cached = details.cached_tokens if details else None
        answer.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens, cached)
    for choice in chunk.choices:
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        # DeepSeek, vLLM and llama.cpp call it reasoning_content; OpenRouter and newer vLLM call it reasoning.
        extra = choice.delta.model_extra or {}
        thought = extra.get("reasoning_content") or extra.get("reasoning")
        yield from answer.add(reasoning=thought, text=choice.delta.content or choice.delta.refusal)
