"""What is particular to Ollama's native protocol."""

from __future__ import annotations

import json

import pytest
from tests.models.conftest import ModelServer, OllamaWire, Pause, Reply

from chatkeep.domain.messages import File, Reasoning, Text, ToolCall, ToolResult, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.ollama import OllamaModel, reachable, to_messages
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest

WIRE = OllamaWire()


async def answer(model: OllamaModel, request: ModelRequest) -> list[ModelEvent]:
    try:
        return [event async for event in model.stream(request)]
    finally:
        await model.close()


async def test_the_request_always_names_the_window(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])

    await answer(OllamaModel("tiny", base_url=server.url), question)

    assert server.received[0].path == "/api/chat"
    sent = server.received[0].body
    assert sent["model"] == "tiny"
    assert sent["stream"] is True
    assert sent["messages"] == [{"role": "user", "content": "What is the weather?"}]
    assert sent["options"] == {"num_ctx": 8192}


async def test_the_window_and_the_bound_can_be_chosen(server: ModelServer) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])
    request = ModelRequest([PromptMessage("user", (Text("Hi"),))], max_output_tokens=5)

    await answer(OllamaModel("tiny", base_url=server.url, num_ctx=2048), request)

    assert server.received[0].body["options"] == {"num_ctx": 2048, "num_predict": 5}


async def test_counts_that_the_server_leaves_out_stay_unknown(server: ModelServer, question: ModelRequest) -> None:
    last = {"model": "tiny", "message": {"role": "assistant", "content": ""}, "done": True}
    server.reply = Reply([json.dumps(last).encode() + b"\n"])

    events = await answer(OllamaModel("tiny", base_url=server.url), question)

    assert events == [Finished("stop", "tiny", Usage(None, None))]


async def test_lone_surrogates_of_a_prompt_can_be_sent(server: ModelServer) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])
    call = ToolCall("c1", "look", {"at": "\ud83c"})
    prompt = [PromptMessage("user", (Text("half \ud83c"),)), PromptMessage("assistant", (call,))]

    await answer(OllamaModel("tiny", base_url=server.url), ModelRequest(prompt))

    sent = server.received[0].body["messages"]
    assert sent[0]["content"] == "half \ufffd"
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == {"at": "\ufffd"}


def test_tool_calls_and_results_become_native_messages() -> None:
    prompt = [
        PromptMessage("assistant", (Reasoning("hm"), ToolCall("c1", "look", {"at": "Köln"}), ToolCall("c2", "go", 3))),
        PromptMessage("tool", (ToolResult("c1", "blue"), ToolResult("c2", "no net", is_error=True))),
        PromptMessage("tool", (Text("by hand"),)),
    ]

    messages = to_messages(prompt)

    calls = [
        {"function": {"name": "look", "arguments": {"at": "Köln"}}},
        {"function": {"name": "go", "arguments": {"arguments": 3}}},
    ]
    assert messages == [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "blue", "tool_name": "look"},
        {"role": "tool", "content": "Error: no net", "tool_name": "go"},
        {"role": "user", "content": "by hand"},
    ]


def test_a_linked_image_is_mentioned_in_the_text() -> None:
    messages = to_messages([PromptMessage("user", (Text("Look:"), File("image/png", url="https://example.org/a.png")))])

    assert messages == [{"role": "user", "content": "Look:\n\n[file: image/png, https://example.org/a.png]"}]


async def test_a_server_that_runs_names_its_models(server: ModelServer) -> None:
    server.reply = Reply([json.dumps({"models": [{"model": "qwen2.5:7b"}, {"model": "tiny"}]}).encode()])

    assert await reachable(server.url, 2) == ["qwen2.5:7b", "tiny"]
    assert server.received[0].path == "/api/tags"


@pytest.mark.parametrize("says", [b"<html>", b"[]", b'{"models": 3}', b'{"models": [1]}'])
async def test_something_else_that_listens_there_is_no_ollama(says: bytes, server: ModelServer) -> None:
    server.reply = Reply([says])

    assert await reachable(server.url, 2) is None


async def test_a_server_that_fails_or_keeps_silent_is_not_reachable(server: ModelServer, unused_tcp_port: int) -> None:
    server.reply = Reply([b"{}"], status=500)
    failing = await reachable(server.url, 2)
    server.reply = Reply([Pause()])
    silent = await reachable(server.url, 0.2)
    absent = await reachable(f"http://127.0.0.1:{unused_tcp_port}", 2)

    assert (failing, silent, absent) == (None, None, None)
