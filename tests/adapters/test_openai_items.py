"""Items of the Responses API come back equal, whatever they hold; what is text in them is text for every reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from chatkeep.adapters.openai_items import items_of, message_from_item
from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import (
    Content,
    Foreign,
    JsonValue,
    NewMessage,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)

ITEMS: dict[str, Any] = {
    "plain question": {"role": "user", "content": "Hi"},
    "plain, other order": {"content": "Hi", "role": "user"},
    "developer": {"role": "developer", "content": "Be brief."},
    "unknown role": {"role": "narrator", "content": "Meanwhile"},
    "empty content": {"role": "user", "content": ""},
    "no content": {"role": "user"},
    "parts": {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
        ],
    },
    "answer": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "A duck.", "annotations": [], "logprobs": None}],
    },
    "refusal": {"role": "assistant", "type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
    "call": {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}', "id": "fc_1"},
    "call without a name": {"type": "function_call", "call_id": "c1", "arguments": "{}"},
    "result": {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    "result of parts": {
        "type": "function_call_output",
        "call_id": "c1",
        "output": [{"type": "input_text", "text": "sunny"}],
    },
    "reasoning": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    "compaction": {"type": "compaction", "encrypted_content": "x", "created_by": None},
    "half a surrogate pair": {"role": "user", "content": "broken \ud83d"},
    "NUL": {"role": "user", "content": "a\x00b"},
    "numbers": {"role": "user", "content": "n", "big": 2**70, "small": 1e-300, "whole": 1.0, "zero": -0.0},
    "a text part whose text is none": {"role": "user", "content": [{"type": "input_text", "text": None}]},
    "not an object": ["a", {"b": None}],
    "null": None,
}


def _back(item: JsonValue) -> list[JsonValue]:
    message = message_from_item(item)
    return items_of(message.role, message.content.parts)


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_an_item_comes_back_as_it_was_to_the_last_character(item: JsonValue) -> None:
    assert [json.dumps(found) for found in _back(item)] == [json.dumps(item)]


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYED = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]) | _JSON,
        "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]) | _JSON,
        "content": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["input_text", "output_text", "text"])}, optional={"text": _JSON}
            )
            | _JSON,
            max_size=3,
        )
        | _JSON,
        "call_id": _JSON,
        "name": _JSON,
        "arguments": _JSON,
        "output": _JSON,
    },
)


@given(_KEYED | _JSON)
def test_any_json_comes_back_as_it_was(item: JsonValue) -> None:
    assert json.dumps(_back(item)[0]) == json.dumps(item)


def test_an_item_is_not_changed_by_being_stored() -> None:
    item = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}

    message_from_item(item)

    assert item == {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a", "set"}, {1: "a"}, b"bytes"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Invalid):
        message_from_item({"role": "user", "content": "x", "extra": value})


def test_the_texts_of_an_item_are_texts_of_the_message_and_stored_once() -> None:
    message = message_from_item(ITEMS["parts"])

    assert message.content.parts[0] == Text("What is this?")
    rest = message.content.parts[1]
    assert isinstance(rest, Foreign)
    assert "What is this?" not in json.dumps(rest.item)


def test_a_call_and_its_result_are_parts_of_their_own() -> None:
    call = message_from_item(ITEMS["call"])
    result = message_from_item(ITEMS["result"])

    assert (call.role, call.content.parts[0]) == ("assistant", ToolCall("c1", "look", '{"a": 1}'))
    assert (result.role, result.content.parts[0]) == ("tool", ToolResult("c1", "sunny"))


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (NewMessage("user", Content(parts=(Text("Hi"),))), [{"role": "user", "content": "Hi"}]),
        (
            NewMessage(
                "assistant", Content(parts=(Reasoning("hm"), Text("I look."), ToolCall("c1", "look", {"a": 1})))
            ),
            [
                {"role": "assistant", "content": "I look."},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}'},
            ],
        ),
        (
            NewMessage("tool", Content(parts=(ToolResult("c1", {"t": 20}),))),
            [{"type": "function_call_output", "call_id": "c1", "output": '{"t": 20}'}],
        ),
    ],
    ids=["text", "text and call", "result"],
)
def test_a_message_that_others_wrote_is_the_items_it_amounts_to(
    new: NewMessage, expected: list[dict[str, str]]
) -> None:
    assert items_of(new.role, new.content.parts) == expected
