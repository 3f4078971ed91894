from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.budgets import Calibration, ContextPolicy, ContextRequest, budget_of
from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import Data, File, Foreign, Part, Reasoning, Text, ToolCall, ToolResult
from chatkeep.domain.tokens import TOKENS_PER_IMAGE, message_tokens, part_tokens, text_tokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        # What the vocabularies cl100k and o200k count, with room for the estimate.
        ("The quick brown fox jumps over the lazy dog.", 8, 13),
        ("def add(a: int, b: int) -> int:\n    return a + b\n", 13, 30),
        ("東京は日本の首都です。", 7, 16),
        ("Привет, где же твоя новая книга?", 8, 32),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 35, 60),
        ('{"id": 17, "name": "x", "tags": ["a", "b"]}', 18, 40),
        ("😀😀😀", 3, 12),
        ("", 0, 0),
    ],
)
def test_an_estimate_is_near_what_tokenizers_count(text: str, least: float, most: float) -> None:
    assert least <= text_tokens(text) <= most


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_never_takes_fewer_tokens(one: str, other: str) -> None:
    assert text_tokens(one + other) >= max(text_tokens(one), text_tokens(other)) - 1e-9


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (Text("words"), True),
        (ToolCall("1", "look", {"q": "x"}), True),
        (ToolResult("1", {"found": [1, 2]}), True),
        (ToolResult("1", "found"), True),
        (Foreign("f", {"a": 1}), True),
        (File("text/plain", url="https://example.org/a.txt"), True),
        (Reasoning("thought " * 100), False),
        (Data("cart", list(range(100))), False),
    ],
)
def test_only_what_is_sent_counts(part: Part, sent: bool) -> None:  # noqa: FBT001 -- a case of a table
    assert (part_tokens(part) > 0) is sent


def test_an_image_takes_the_same_whatever_its_name() -> None:
    assert part_tokens(File("image/png", url="u" * 5_000)) == TOKENS_PER_IMAGE


def test_a_message_takes_a_little_more_than_its_parts() -> None:
    assert message_tokens([Text("one two"), Text("three")]) > text_tokens("one two") + text_tokens("three")


def test_a_report_of_usage_corrects_the_estimate_the_first_one_in_full() -> None:
    first = Calibration().learnt(estimated=100, reported=150)
    second = first.learnt(estimated=100, reported=100)

    assert (first.factor, first.reports) == (1.5, 1)
    assert (second.factor, second.reports) == (1.25, 2)


@pytest.mark.parametrize(("reported", "factor"), [(1, 0.5), (10_000, 4.0)])
def test_a_report_that_cannot_be_is_taken_for_the_nearest_that_can(reported: int, factor: float) -> None:
    assert Calibration().learnt(estimated=100, reported=reported).factor == factor


def test_a_report_of_nothing_teaches_nothing() -> None:
    assert Calibration().learnt(estimated=100, reported=0) == Calibration()


def test_a_known_window_bounds_the_budget_and_leaves_room_for_the_answer_and_for_error() -> None:
    policy = ContextPolicy(tmax_tokens=100_000)

    unknown = budget_of(policy, ContextRequest(now=NOW))
    cold = budget_of(policy, ContextRequest(now=NOW, window_tokens=11_024))
    sure = budget_of(policy, ContextRequest(now=NOW, window_tokens=11_024, calibration=Calibration(reports=3)))

    assert (unknown.total, cold.total, sure.total) == (100_000, 8_500, 9_500)


@pytest.mark.parametrize(
    "wrong", [{"tmax_tokens": 255}, {"strategy": "all"}, {"relevance": "magic"}, {"recent": 0}, {"chunk_tokens": 0}]
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        ContextPolicy(**wrong)  # type: ignore[arg-type]  # that is the point
