from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid, LimitExceeded
from chatkeep.domain.messages import (
    Data,
    File,
    Foreign,
    NewMessage,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    assistant,
    user,
)

HALF = "\ud800"
DEEP: list[Any] = []
for _ in range(70):
    DEEP = [DEEP]


def test_every_kind_of_part_that_can_be_stored_passes() -> None:
    parts: list[Part] = [
        Text("a"),
        Reasoning("b"),
        ToolCall("c", "look", {"in": [1, 2.5, None, True]}),
        ToolResult("c", "found", is_error=True),
        File("image/png", url="https://example.org/a.png"),
        File("image/png", sha256="0" * 64, name="a.png"),
        Data("score", {"a": 1}),
        Foreign("openai", {"half": HALF}),
    ]

    check_messages([assistant(*parts, usage=Usage(1, 2, 0), sources=(Source("t", "https://example.org"),))])


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (Text(HALF), "text"),
        (Reasoning(HALF), "text"),
        (Text(7), "text"),  # type: ignore[arg-type]  # on purpose
        (ToolCall("c", HALF, {}), "name"),
        (ToolCall("c", "n", {"a": float("nan")}), "arguments"),
        (ToolCall("c", "n", DEEP), "arguments"),
        (ToolResult("c", object(), is_error=False), "content"),
        (ToolResult("c", "x", is_error=1), "is_error"),  # type: ignore[arg-type]  # on purpose
        (File("image/png"), ""),
        (File("image/png", url="u", sha256="0" * 64), ""),
        (File("image/png", sha256="0" * 63 + "G"), "sha256"),
        (File("image/png", sha256="0" * 64 + "\n"), "sha256"),
        (Data("d", {1: 2}), "value"),
        (Data("d", 2**5_000), "value"),
        (Foreign("f", "\ud83d\ude00"), "item"),
    ],
)
def test_a_part_that_would_not_come_back_equal_is_refused_with_its_place(part: Part, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_messages([user("fine"), user("fine", part)])

    assert refused.value.field == f"messages[1].parts[1]{'.' if place else ''}{place}"


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (NewMessage("robot", user("x").content), "role"),  # type: ignore[arg-type]  # on purpose
        (user("x", status="done"), "status"),
        (user("x", created_at=datetime(2026, 1, 1)), "created_at"),  # noqa: DTZ001 -- on purpose
        (user("x", metadata={"a": float("inf")}), "metadata"),
        (user("x", model=HALF), "model"),
        (user("x", sources=(Source(HALF),)), "sources.title"),
        (user("x", suggestions=(HALF,)), "suggestions"),
        (user("x", duration_ms=-1), ""),
        (user("x", usage=Usage(2**53, 0, 0)), ""),
    ],
)
def test_a_message_that_cannot_be_stored_is_refused_with_its_place(message: NewMessage, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_messages([message])

    assert refused.value.field == f"messages[0]{'.' if place else ''}{place}"


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (user(*["x"] * 65), "parts"),
        (user("x", sources=(Source("t"),) * 65), "sources"),
        (user("x", suggestions=("s",) * 17), "suggestions"),
        (user("x", model="m" * 257), "model"),
        (user("x", query_summary="q" * 101), "query_summary"),
        (user("x", metadata={"a": "x" * 17_000}), "metadata"),
    ],
)
def test_what_is_too_much_is_refused_with_its_bound(message: NewMessage, place: str) -> None:
    with pytest.raises(LimitExceeded) as refused:
        check_messages([message])

    assert refused.value.field == f"messages[0].{place}"
    assert refused.value.actual > refused.value.limit


def test_what_reaches_its_bound_exactly_passes() -> None:
    check_messages(
        [
            user(
                *["x"] * 64,
                sources=(Source("t"),) * 64,
                suggestions=("s",) * 16,
                model="m" * 256,
                query_summary="q" * 100,
                metadata={"a": "x" * (16_384 - len('{"a":""}'))},
                usage=Usage(2**53 - 1, 0, 0),
            )
        ]
    )
