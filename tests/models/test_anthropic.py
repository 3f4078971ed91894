"""What is particular to Anthropic's messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.models.conftest import AnthropicWire, ModelServer, Reply

from chatkeep.domain.messages import File, Reasoning, Text, ToolCall, ToolResult, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.anthropic import AnthropicModel, to_body
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest, TextDelta

WIRE = AnthropicWire()


async def answer(model: AnthropicModel, request: ModelRequest) -> list[ModelEvent]:
    try:
        return [event async for event in model.stream(request)]
    finally:
        await model.close()


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def test_the_request_lifts_the_system_messages_and_bounds_the_answer(server: ModelServer) -> None:
    server.reply = Reply([*WIRE.begin(), WIRE.text("Sun."), *WIRE.end()])
    prompt = [
        PromptMessage("system", (Text("Be brief."),)),
        PromptMessage("system", (Text("Be kind."),)),
        PromptMessage("user", (Text("Hi"),)),
    ]

    await answer(AnthropicModel("tiny", base_url=server.url, api_key="sk-1"), ModelRequest(prompt))

    sent = server.received[0]
    assert sent.path == "/v1/messages"
    assert "sk-1" in f"{sent.headers.get('x-api-key')} {sent.headers.get('authorization')}"
    assert sent.body == {
        "model": "tiny",
        "max_tokens": 4096,
        "system": "Be brief.\n\nBe kind.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }


async def test_the_bound_of_the_request_is_sent(server: ModelServer) -> None:
    server.reply = Reply([*WIRE.begin(), *WIRE.end()])
    request = ModelRequest([PromptMessage("user", (Text("Hi"),))], max_output_tokens=5)

    await answer(AnthropicModel("tiny", base_url=server.url), request)

    assert server.received[0].body["max_tokens"] == 5


async def test_another_server_never_gets_the_key_of_the_environment(
    server: ModelServer, question: ModelRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    server.reply = Reply([*WIRE.begin(), *WIRE.end()])

    await answer(AnthropicModel("tiny", base_url=server.url), question)

    assert server.received[0].headers.keys().isdisjoint({"authorization", "x-api-key"})


async def test_cached_tokens_are_part_of_the_input(server: ModelServer, question: ModelRequest) -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 64,
        "cache_creation_input_tokens": 16,
        "output_tokens": 1,
    }
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "tiny-served", "content": []}
    server.reply = Reply([event("message_start", message={**message, "usage": usage}), *WIRE.end()])

    events = await answer(AnthropicModel("tiny", base_url=server.url), question)

    assert events == [Finished("stop", "tiny-served", Usage(90, 7, 64))]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [("stop_sequence", "stop"), ("refusal", "content_filter"), ("pause_turn", "pause_turn")],
)
async def test_stop_reasons_are_told_in_the_words_of_the_port(
    stop_reason: str, finish_reason: str, server: ModelServer, question: ModelRequest
) -> None:
    delta = event("message_delta", delta={"stop_reason": stop_reason}, usage={"output_tokens": 2})
    server.reply = Reply([*WIRE.begin(), delta, event("message_stop")])

    events = await answer(AnthropicModel("tiny", base_url=server.url), question)

    assert events == [Finished(finish_reason, "tiny-served", Usage(11, 2))]


async def test_events_of_a_kind_that_is_not_known_yet_are_passed_over(
    server: ModelServer, question: ModelRequest
) -> None:
    strange = [event("weather_report", sky="blue"), event("content_block_delta", index=0, delta={"type": "smell"})]
    server.reply = Reply([*WIRE.begin(), *strange, WIRE.text("Sun."), *WIRE.end()])

    events = await answer(AnthropicModel("tiny", base_url=server.url), question)

    assert events[0] == TextDelta("Sun.")


async def test_lone_surrogates_are_replaced_in_both_directions(server: ModelServer) -> None:
    lone = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "half \ud83c!"})
    server.reply = Reply([*WIRE.begin(), lone, *WIRE.end()])
    call = ToolCall("c1", "look", {"at": "\ud83c"})
    prompt = [PromptMessage("user", (Text("a \udf1e"),)), PromptMessage("assistant", (call,))]

    events = await answer(AnthropicModel("tiny", base_url=server.url), ModelRequest(prompt))

    assert events[0] == TextDelta("half \ufffd!")
    sent = server.received[0].body["messages"]
    assert sent[0]["content"][0]["text"] == "a \ufffd"
    assert sent[1]["content"][0]["input"] == {"at": "\ufffd"}


def test_tool_calls_and_results_become_blocks_and_the_called_tools_are_declared() -> None:
    prompt = [
        PromptMessage("user", (Text("Weather?"),)),
        PromptMessage("assistant", (Reasoning("hm"), Text("Looking."), ToolCall("c1", "look", {"at": "Köln"}))),
        PromptMessage("tool", (ToolResult("c1", {"sky": "blue"}),)),
        PromptMessage("user", (Text("And now?"),)),
    ]

    body = to_body(prompt)

    call = {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "Köln"}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": '{"sky": "blue"}', "is_error": False}
    assert body == {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Looking."}, call]},
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "none"},
    }


def test_neighbours_of_one_role_become_one_message_and_empty_text_is_left_out() -> None:
    prompt = [
        PromptMessage("user", (Text("one"), Text(" \n"))),
        PromptMessage("assistant", (Text(""),)),
        PromptMessage("user", (Text("two"),)),
    ]

    body = to_body(prompt)

    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert body == {"messages": [{"role": "user", "content": blocks}]}


def test_a_linked_image_is_sent_as_an_image_and_any_other_file_is_mentioned() -> None:
    parts = (File("image/png", url="https://example.org/a.png"), File("text/csv", sha256="0" * 64, name="b.csv"))

    body = to_body([PromptMessage("user", parts)])

    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "[file: b.csv, text/csv]"},
    ]
