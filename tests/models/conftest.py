"""A server on a free loopback port that speaks each provider's real protocol, as a test scripts it, faults included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from chatkeep.domain.messages import Text
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.anthropic import AnthropicModel
from chatkeep.models.ollama import OllamaModel
from chatkeep.models.openai import OpenAIModel
from chatkeep.ports.models import ChatModel, ModelRequest


@dataclass(frozen=True)
class Pause:
    """A silence of the server; far longer than any test where it shall never end."""

    seconds: float = 60


@dataclass(frozen=True)
class Cut:
    """The connection is gone, in the middle of the answer."""


Step = bytes | Pause | Cut


@dataclass
class Reply:
    """What the server answers to every request."""

    steps: Sequence[Step] = ()
    status: int = 200


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ModelServer:
    """Plays `reply`, and remembers what it was sent; `disconnected` is set when a client hangs up in mid-answer."""

    url: str
    reply: Reply = field(default_factory=Reply)
    received: list[Received] = field(default_factory=list)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.received.append(await _request(reader))
            head = f"HTTP/1.1 {self.reply.status} Scripted\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            hangup = asyncio.create_task(self._watch(reader))
            try:
                await self._play(writer)
            finally:
                hangup.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        for step in self.reply.steps:
            if isinstance(step, Cut):
                # Lets the client see what was sent before: an abort discards what it has not read yet.
                await asyncio.sleep(0.05)
                writer.transport.abort()
                return
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read(1)
        self.disconnected.set()


async def _request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(head[0].split()[1], headers, json.loads(raw) if raw else None)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with suppress(asyncio.CancelledError):
            await scripted.answer(reader, writer)
        handlers.discard(task)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    scripted = ModelServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    yield scripted
    listener.close()
    for task in list(handlers):
        task.cancel()
    await asyncio.gather(*handlers)
    await listener.wait_closed()


class Wire(Protocol):
    """How one provider's server writes a stream."""

    @property
    def kind(self) -> str:
        """The prefix of the model's name."""

    def model(self, base_url: str, timeout_seconds: float) -> ChatModel:
        """Return a client of the server."""

    def begin(self) -> list[bytes]:
        """Return what comes before the first piece of text."""

    def text(self, said: str) -> bytes:
        """Return one piece of text."""

    def thought(self, said: str) -> bytes:
        """Return one piece of reasoning."""

    def end(self, *, is_cut_by_bound: bool = False) -> list[bytes]:
        """Return the end mark, with usage: 11 tokens in, 7 out."""

    def error_event(self, message: str) -> bytes:
        """Return an error in mid-stream."""

    def error_body(self, message: str) -> bytes:
        """Return the body of an HTTP error."""


class OllamaWire:
    kind = "ollama"

    def model(self, base_url: str, timeout_seconds: float) -> ChatModel:
        return OllamaModel("tiny", base_url=base_url, timeout_seconds=timeout_seconds)

    def begin(self) -> list[bytes]:
        return []

    def text(self, said: str) -> bytes:
        return self._line({"message": {"role": "assistant", "content": said}, "done": False})

    def thought(self, said: str) -> bytes:
        return self._line({"message": {"role": "assistant", "content": "", "thinking": said}, "done": False})

    def end(self, *, is_cut_by_bound: bool = False) -> list[bytes]:
        last = {
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "length" if is_cut_by_bound else "stop",
            "prompt_eval_count": 11,
            "eval_count": 7,
        }
        return [self._line(last)]

    def error_event(self, message: str) -> bytes:
        return json.dumps({"error": message}).encode() + b"\n"

    def error_body(self, message: str) -> bytes:
        return json.dumps({"error": message}).encode()

    def _line(self, fields: dict[str, Any]) -> bytes:
        line = json.dumps({"model": "tiny-served", **fields}, ensure_ascii=False)
        # The real server is written in Go, whose encoder escapes these two.
        return line.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029").encode() + b"\n"


class OpenAIWire:
    kind = "openai"

    def model(self, base_url: str, timeout_seconds: float) -> ChatModel:
        return OpenAIModel("tiny", base_url=f"{base_url}/v1", timeout_seconds=timeout_seconds)

    def begin(self) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def text(self, said: str) -> bytes:
        return self._chunk({"content": said})

    def thought(self, said: str) -> bytes:
        return self._chunk({"reasoning_content": said})

    def end(self, *, is_cut_by_bound: bool = False) -> list[bytes]:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return [
            self._chunk({}, "length" if is_cut_by_bound else "stop"),
            self._event({"choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ]

    def error_event(self, message: str) -> bytes:
        return b"data: " + self.error_body(message) + b"\n\n"

    def error_body(self, message: str) -> bytes:
        return json.dumps({"error": {"message": message, "type": "server_error", "code": None}}).encode()

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

    def _event(self, fields: dict[str, Any]) -> bytes:
        whole = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-served", **fields}
        return b"data: " + json.dumps(whole, ensure_ascii=False).encode() + b"\n\n"


class AnthropicWire:
    kind = "anthropic"

    def model(self, base_url: str, timeout_seconds: float) -> ChatModel:
        return AnthropicModel("tiny", base_url=base_url, timeout_seconds=timeout_seconds)

    def begin(self) -> list[bytes]:
        message: dict[str, Any] = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "tiny-served",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        }
        return [self._event("message_start", message=message), self._event("ping")]

    def text(self, said: str) -> bytes:
        return self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})

    def thought(self, said: str) -> bytes:
        return self._event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": said})

    def end(self, *, is_cut_by_bound: bool = False) -> list[bytes]:
        delta = {"stop_reason": "max_tokens" if is_cut_by_bound else "end_turn", "stop_sequence": None}
        return [self._event("message_delta", delta=delta, usage={"output_tokens": 7}), self._event("message_stop")]

    def error_event(self, message: str) -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": message})

    def error_body(self, message: str) -> bytes:
        return json.dumps({"type": "error", "error": {"type": "api_error", "message": message}}).encode()

    def _event(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


@pytest.fixture(params=[OllamaWire(), OpenAIWire(), AnthropicWire()], ids=lambda wire: wire.kind)
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen


@pytest.fixture
async def open_wire(wire: Wire, server: ModelServer) -> AsyncIterator[Callable[..., ChatModel]]:
    """Return a function that opens a client of the wire's server; closed after the test."""
    opened: list[ChatModel] = []

    def open_client(timeout_seconds: float = 5) -> ChatModel:
        opened.append(wire.model(server.url, timeout_seconds))
        return opened[-1]

    yield open_client
    for model in opened:
        await model.close()


@pytest.fixture
def question() -> ModelRequest:
    return ModelRequest([PromptMessage("user", (Text("What is the weather?"),))])
