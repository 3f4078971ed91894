from __future__ import annotations

from hypothesis import given, strategies as st

from chatkeep.domain.messages import Content, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, Unreadable
from chatkeep.domain.prompts import estimated_tokens, recent_turns
from chatkeep.stores.codec import decode, encode


def message(seq: int, role: Role, *parts: Part | str, parent_seq: int | None = None) -> Message:
    content = Content(parts=tuple(Text(part) if isinstance(part, str) else part for part in parts))
    parent = seq - 1 if parent_seq is None else parent_seq
    return Message(seq, parent, b"", role, "complete", 0, 0, None, encode(content), decode)


def seqs(entries: tuple[Message, ...]) -> list[int]:
    return [entry.seq for entry in entries]


PATH = [
    message(1, "user", "a" * 300),
    message(2, "assistant", "b" * 300),
    message(3, "user", "c" * 30),
    message(4, "assistant", "d" * 30),
    message(5, "user", "e" * 30),
]


def test_everything_that_fits_is_included_in_order() -> None:
    window = recent_turns(PATH, budget_tokens=10_000)

    assert (seqs(window.included), window.omitted, window.unreadable) == ([1, 2, 3, 4, 5], 0, 0)
    assert window.tokens == sum(map(estimated_tokens, PATH))


def test_the_oldest_whole_turns_are_left_out() -> None:
    window = recent_turns(PATH, budget_tokens=100)

    assert (seqs(window.included), window.omitted) == ([3, 4, 5], 2)
    assert window.tokens <= 100


def test_a_turn_that_fits_exactly_is_included() -> None:
    exactly = sum(map(estimated_tokens, PATH[2:]))

    assert seqs(recent_turns(PATH, budget_tokens=exactly).included) == [3, 4, 5]
    assert seqs(recent_turns(PATH, budget_tokens=exactly - 1).included) == [5]


def test_the_newest_turn_is_there_whatever_it_costs() -> None:
    window = recent_turns(PATH[:2], budget_tokens=1)

    assert seqs(window.included) == [1, 2]


def test_an_empty_path_gives_an_empty_window() -> None:
    assert recent_turns([], budget_tokens=10).included == ()


def test_empty_and_unreadable_messages_are_left_out() -> None:
    window = recent_turns(
        [message(1, "user", "a"), Unreadable(2, "spoilt"), message(3, "assistant"), message(4, "user", "b")],
        budget_tokens=1_000,
    )

    assert (seqs(window.included), window.omitted, window.unreadable) == ([1, 4], 0, 1)


def test_a_turn_whose_beginning_was_not_read_is_left_out() -> None:
    result = message(8, "tool", ToolResult("c", "found", is_error=False))

    window = recent_turns([result, message(9, "assistant", "a"), message(10, "user", "b")], budget_tokens=1_000)

    assert (seqs(window.included), window.omitted) == ([10], 2)


def test_a_conversation_may_begin_with_the_assistant() -> None:
    window = recent_turns([message(1, "assistant", "Welcome"), message(2, "user", "Hi")], budget_tokens=1_000)

    assert seqs(window.included) == [1, 2]


def test_a_tool_call_and_its_result_are_kept_or_left_out_together() -> None:
    path = [
        message(1, "user", "a"),
        message(2, "assistant", ToolCall("c", "look", {"in": "x" * 300})),
        message(3, "user", "meanwhile"),
        message(4, "tool", ToolResult("c", "found", is_error=False)),
        message(5, "user", "b"),
    ]

    assert seqs(recent_turns(path, budget_tokens=60).included) == [5]
    assert seqs(recent_turns(path, budget_tokens=1_000).included) == [1, 2, 3, 4, 5]


def test_an_estimate_counts_bytes_of_what_is_sent_and_no_reasoning() -> None:
    assert estimated_tokens(message(1, "user", "é" * 30)) == 4 + 20
    assert estimated_tokens(message(1, "assistant", Reasoning("x" * 900), "y" * 30)) == 4 + 10
    assert estimated_tokens(message(1, "tool", ToolResult("c", {"a": "x" * 300}, is_error=False))) > 100


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(0, 60)), max_size=30), st.integers(1, 300)
)
def test_a_window_is_a_suffix_of_whole_turns_within_the_budget(
    said: list[tuple[Role, int]], budget_tokens: int
) -> None:
    path = [message(seq, role, "x" * (size + 1)) for seq, (role, size) in enumerate(said, 1)]

    window = recent_turns(path, budget_tokens=budget_tokens)

    count = len(window.included)
    assert seqs(window.included) == [entry.seq for entry in path[len(path) - count :]]
    assert count + window.omitted == len(path)
    turns = sum(entry.role == "user" for entry in window.included)
    if count < len(path):
        assert window.included[0].role == "user"
    assert window.tokens <= budget_tokens or turns <= 1 or window.included[0].role != "user"
