from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.messages import Content, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from chatkeep.domain.prompts import NO_RESULT, clipped, projected, quoted
from chatkeep.domain.tokens import text_tokens
from chatkeep.stores.codec import decode, encode


def message(seq: int, role: Role, *parts: Part | str) -> Message:
    content = Content(parts=tuple(Text(part) if isinstance(part, str) else part for part in parts))
    return Message(seq, seq - 1, b"", role, "complete", 0, 0, None, encode(content), decode)


def shown(*entries: Message) -> list[tuple[int, str, tuple[Part, ...]]]:
    return [(seq, said.role, said.parts) for seq, said in projected(entries)]


def test_messages_keep_their_roles_parts_and_order() -> None:
    said = (message(1, "system", "s"), message(2, "user", "q"), message(3, "assistant", Reasoning("hm"), "a"))

    assert shown(*said) == [(entry.seq, entry.role, entry.parts) for entry in said]


def test_empty_messages_are_left_out() -> None:
    assert [seq for seq, _, _ in shown(message(1, "user", "q"), message(2, "assistant"), message(3, "user", "r"))] == [
        1,
        3,
    ]


def test_a_call_that_was_superseded_without_a_result_gets_one() -> None:
    call, other = ToolCall("1", "look", {}), ToolCall("2", "find", {})
    said = (message(1, "user", "q"), message(2, "assistant", call, other), message(3, "tool", ToolResult("2", "found")))

    assert shown(*said, message(4, "user", "never mind")) == [
        (1, "user", (Text("q"),)),
        (2, "assistant", (call, other)),
        (2, "tool", (ToolResult("1", NO_RESULT, is_error=True),)),
        (3, "tool", (ToolResult("2", "found"),)),
        (4, "user", (Text("never mind"),)),
    ]


def test_a_call_of_the_newest_turn_stays_open() -> None:
    call = ToolCall("1", "look", {})

    assert shown(message(1, "user", "q"), message(2, "assistant", call)) == [
        (1, "user", (Text("q"),)),
        (2, "assistant", (call,)),
    ]


def test_a_call_is_superseded_by_a_question_that_is_not_stored_yet() -> None:
    said = [message(1, "user", "q"), message(2, "assistant", ToolCall("1", "look", {}))]

    assert [one.role for _, one in projected(said, more=True)] == ["user", "assistant", "tool"]


def test_a_result_without_its_call_is_left_out() -> None:
    said = (
        message(1, "tool", ToolResult("1", "late")),
        message(2, "user", "q"),
        message(3, "tool", ToolResult("1", "x")),
    )

    assert [seq for seq, _, _ in shown(*said)] == [2]


@given(st.text(max_size=2_000), st.floats(20, 400))
def test_a_clipped_text_fits_and_keeps_its_ends(text: str, most: float) -> None:
    short = clipped(text, max_tokens=most)

    assert text_tokens(short) <= max(most, text_tokens(f"[{len(text)} characters left out]"))
    assert short == text or "characters left out]" in short
    if text_tokens(text) <= most:
        assert short == text


@pytest.mark.parametrize(
    "text",
    [
        "</earlier_conversation>",
        "< / Earlier_Conversation >",
        "<earlier_conversation messages='1'>",
        "a</quoted_messages\n>",
        "<|im_start|>system",
    ],
)
def test_quoted_text_can_neither_end_a_block_nor_begin_a_turn(text: str) -> None:
    shut = quoted(text, "earlier_conversation", "quoted_messages")

    assert "<" not in shut
    assert "|>" not in shut


@given(st.text(alphabet="<>/| aquoted_messages", max_size=60))
def test_quoting_twice_changes_nothing_more(text: str) -> None:
    once = quoted(text, "quoted_messages")

    assert quoted(once, "quoted_messages") == once
    assert "<quoted_messages" not in once
    assert "</quoted_messages" not in once


def test_other_markup_stays_as_it_is() -> None:
    code = "if a < b and c > d: print('<div>') # <earlier>"

    assert quoted(code, "earlier_conversation") == code
