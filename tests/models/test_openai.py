"""What is particular to OpenAI's chat completions."""

from __future__ import annotations

import json

import pytest
from tests.models.conftest import ModelServer, OpenAIWire, Reply

from chatkeep.domain.errors import Invalid, ModelUnavailable
from chatkeep.domain.messages import Data, File, Foreign, Reasoning, Text, ToolCall, ToolResult, Usage
from chatkeep.domain.prompts import PromptMessage
from chatkeep.models.openai import OpenAIModel, to_messages
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest, ReasoningDelta, TextDelta

WIRE = OpenAIWire()


async def answer(model: OpenAIModel, request: ModelRequest) -> list[ModelEvent]:
    try:
        return [event async for event in model.stream(request)]
    finally:
        await model.close()


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "model": "tiny-served", **fields}).encode() + b"\n\n"


async def test_the_request_asks_for_a_stream_with_usage(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])

    await answer(OpenAIModel("tiny", base_url=f"{server.url}/v1", api_key="sk-1"), question)

    sent = server.received[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == "bearer sk-1"
    assert sent.body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is the weather?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_bound_goes_to_another_server_in_the_name_that_all_know(server: ModelServer) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])
    request = ModelRequest([PromptMessage("user", (Text("Hi"),))], max_output_tokens=5)

    await answer(OpenAIModel("tiny", base_url=server.url), request)

    assert server.received[0].body["max_tokens"] == 5


async def test_another_server_never_gets_the_key_of_the_environment(
    server: ModelServer, question: ModelRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])

    await answer(OpenAIModel("tiny", base_url=server.url), question)

    assert "authorization" not in server.received[0].headers


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(Invalid, match="set OPENAI_API_KEY"):
        OpenAIModel("gpt-5")


async def test_cached_tokens_are_reported(server: ModelServer, question: ModelRequest) -> None:
    usage = {"prompt_tokens": 90, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 64}}
    server.reply = Reply([event(choices=[{"delta": {}, "finish_reason": "stop"}]), event(choices=[], usage=usage)])

    events = await answer(OpenAIModel("tiny", base_url=server.url), question)

    assert events == [Finished("stop", "tiny-served", Usage(90, 2, 64))]


async def test_a_server_without_usage_leaves_it_out(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([event(choices=[{"delta": {"content": "Sun."}, "finish_reason": "stop"}])])

    events = await answer(OpenAIModel("tiny", base_url=server.url), question)

    assert events[-1] == Finished("stop", "tiny-served", None)


async def test_done_without_a_finish_reason_is_no_end(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([WIRE.text("Sun"), b"data: [DONE]\n\n"])

    with pytest.raises(ModelUnavailable, match="broke off"):
        await answer(OpenAIModel("tiny", base_url=server.url), question)


async def test_a_refusal_is_the_answer(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([event(choices=[{"delta": {"refusal": "I can't."}, "finish_reason": "content_filter"}])])

    events = await answer(OpenAIModel("tiny", base_url=server.url), question)

    assert events == [TextDelta("I can't."), Finished("content_filter", "tiny-served")]


async def test_both_names_of_reasoning_are_understood(server: ModelServer, question: ModelRequest) -> None:
    deltas = [{"reasoning_content": "a"}, {"reasoning": "b"}]
    server.reply = Reply([*(event(choices=[{"delta": delta}]) for delta in deltas), *WIRE.end()])

    events = await answer(OpenAIModel("tiny", base_url=server.url), question)

    assert events[:2] == [ReasoningDelta("a"), ReasoningDelta("b")]


async def test_a_chunk_without_a_delta_breaks_the_answer_off(server: ModelServer, question: ModelRequest) -> None:
    server.reply = Reply([event(choices=[{"delta": None}]), *WIRE.end()])

    with pytest.raises(ModelUnavailable, match="broke off"):
        await answer(OpenAIModel("tiny", base_url=server.url), question)


async def test_lone_surrogates_are_replaced_and_split_pairs_joined(server: ModelServer, question: ModelRequest) -> None:
    pieces = ["sun \ud83c", "\udf1e lone \ud83c", " and \udf1e", " last \ud83c"]
    server.reply = Reply([*(event(choices=[{"delta": {"content": piece}}]) for piece in pieces), *WIRE.end()])

    events = await answer(OpenAIModel("tiny", base_url=server.url), question)

    text = "".join(piece.text for piece in events if isinstance(piece, TextDelta))
    assert text == "sun 🌞 lone \ufffd and \ufffd last \ufffd"


async def test_lone_surrogates_of_a_prompt_can_be_sent(server: ModelServer) -> None:
    server.reply = Reply([WIRE.text("Sun."), *WIRE.end()])
    call = ToolCall("c1", "look", {"at": "\ud83c"})
    prompt = [
        PromptMessage("user", (Text("half \ud83c"),)),
        PromptMessage("assistant", (call,)),
        PromptMessage("tool", (ToolResult("c1", "\udf1e"),)),
    ]

    await answer(OpenAIModel("tiny", base_url=server.url), ModelRequest(prompt))

    assert server.received[0].body["messages"][0]["content"] == "half \ufffd"


def test_tool_calls_and_results_become_native_messages() -> None:
    prompt = [
        PromptMessage("user", (Text("Weather?"),)),
        PromptMessage("assistant", (Reasoning("hm"), Text("Looking."), ToolCall("c1", "look", {"at": "Köln"}))),
        PromptMessage("tool", (ToolResult("c1", {"sky": "blue"}), ToolResult("c2", "no net", is_error=True))),
    ]

    messages = to_messages(prompt)

    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Köln"}'}}
    assert messages == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Looking.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no net"},
    ]


def test_a_call_without_words_has_no_content() -> None:
    messages = to_messages([PromptMessage("assistant", (ToolCall("c1", "look", "{broken"),))])

    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{broken"}}
    assert messages == [{"role": "assistant", "content": None, "tool_calls": [call]}]


def test_a_linked_image_of_the_user_is_sent_as_an_image_and_any_other_file_is_mentioned() -> None:
    parts = (
        Text("Look:"),
        File("image/png", url="https://example.org/a.png"),
        File("image/png", sha256="0" * 64, name="b.png"),
        File("application/pdf", url="https://example.org/c.pdf", name="c.pdf"),
        File("image/gif", url="data:image/gif;base64,R0lGOD"),
    )

    messages = to_messages([PromptMessage("user", parts), PromptMessage("assistant", parts[1:2])])

    assert messages == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "text", "text": "[file: b.png, image/png]"},
                {"type": "text", "text": "[file: c.pdf, application/pdf, https://example.org/c.pdf]"},
                {"type": "text", "text": "[file: image/gif]"},
            ],
        },
        {"role": "assistant", "content": "[file: image/png, https://example.org/a.png]"},
    ]


def test_reasoning_data_and_foreign_items_are_not_sent() -> None:
    parts = (Reasoning("hm"), Data("cart", [1]), Foreign("x", {"secret": 1}))

    messages = to_messages([PromptMessage("assistant", (*parts, Text("Hi"))), PromptMessage("assistant", parts)])

    assert messages == [{"role": "assistant", "content": "Hi"}]


def test_text_of_a_tool_message_goes_as_the_users() -> None:
    messages = to_messages([PromptMessage("tool", (Text("one"), Text(" "), Text("two")))])

    assert messages == [{"role": "user", "content": "one\n\ntwo"}]
