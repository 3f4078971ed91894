"""What the model sees, and summaries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from chatkeep.api.schemas.basics import Count, Seq, Telling

_TOKENS: dict[str, JsonValue] = {
    "system": 0,
    "tools": 0,
    "pinned": 0,
    "segments": 0,
    "recent": 210,
    "relevant": 0,
    "new": 14,
    "total": 224,
}


class PromptMessage(Telling):
    """One message as the model sees it."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: list[dict[str, Any]]


class Decided(Telling):
    """What became of one message of the active path."""

    seq: Seq
    decision: Literal["included", "relevant", "covered", "omitted"]
    reason: str
    tokens: Annotated[int, Field(description="What the message takes in full, where that is known; else 0.")]


class Covered(Telling):
    """A summary in the prompt, and the messages that it stands for."""

    first_seq: Seq
    last_seq: Seq
    level: int
    method: Literal["model", "extractive"]
    tokens: Count


class Context(Telling):
    """A prompt, and why it is what it is. Of a past one, `messages` is empty: they are not kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [{"role": "user", "parts": [{"type": "text", "text": "Where is my refund?"}]}],
                    "strategy": "anchored",
                    "relevance": "bm25",
                    "budget_tokens": 8192,
                    "tokens": _TOKENS,
                    "source_tokens": 0,
                    "published": False,
                    "estimate": "bytes",
                    "prefix_fraction": 0.0,
                    "build_ms": 1.2,
                    "wait_ms": 0.0,
                    "segments": [],
                    "trace": [{"seq": 1, "decision": "included", "reason": "verbatim", "tokens": 11}],
                }
            ]
        }
    )

    messages: list[PromptMessage]
    strategy: str
    relevance: str
    budget_tokens: Count
    tokens: Annotated[
        dict[str, int],
        Field(description="`system tools pinned segments recent relevant new`, which add up to `total`."),
    ]
    source_tokens: Annotated[Count, Field(description="What the messages behind the summaries would take.")]
    published: Annotated[bool, Field(description="Whether this prompt is the first with changed summaries.")]
    estimate: Annotated[
        Literal["bytes", "exact", "calibrated"],
        Field(description="How tokens were counted; `calibrated` once the model has reported its own count."),
    ]
    prefix_fraction: Annotated[float, Field(description="The part of the prompt that begins like the one before.")]
    build_ms: float
    wait_ms: Annotated[float, Field(description="How long a model was waited for; 0.")]
    segments: list[Covered]
    trace: Annotated[list[Decided], Field(description="Every message of the active path, once, in order.")]


class Segment(Telling):
    """A summary of whole turns. One that is not published waits for the next change of the prompt's head."""

    first_seq: Seq
    last_seq: Seq
    level: Annotated[int, Field(description="0: made from messages; 1 and more: from summaries.")]
    published: bool
    method: Literal["model", "extractive"]
    model: str | None
    tokens: Count
    source_tokens: Count
    text: str


class SegmentList(Telling):
    """The summaries of every branch, those in use first."""

    items: list[Segment]
    next_cursor: None
