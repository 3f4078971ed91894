"""Which messages go into a summary next, and summaries made without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chatkeep.domain.extraction import Line, extracted
from chatkeep.domain.messages import File, Message, Part, Text, ToolCall, ToolResult, Unreadable
from chatkeep.domain.prompts import NO_RESULT, clipped
from chatkeep.domain.quoting import summary_tokens
from chatkeep.domain.summaries import FAN_IN, MAX_SEGMENT_BYTES, Placed, Segment
from chatkeep.domain.tokens import TOKENS_PER_MESSAGE, message_tokens
from chatkeep.domain.turns import turn_starts

Entry = Message | Unreadable

MAX_LINE_TOKENS = 500.0
"""So much of one message goes into a summary's source; of a longer one its beginning and its end."""
_PIN = "pin"
_NO_RESULT_TOKENS = message_tokens([ToolResult("", NO_RESULT)])


class Turn(NamedTuple):
    """A user message up to the next one, or what may not be parted from it. `tokens` estimates all of it."""

    entries: tuple[Entry, ...]
    tokens: int


def entry_tokens(entry: Entry) -> int:
    """Return the estimate of a message in a prompt; 0 for one of which nothing is sent."""
    if isinstance(entry, Unreadable) or not entry.parts:
        return 0
    tokens = message_tokens(entry.parts)
    return tokens if tokens > TOKENS_PER_MESSAGE else 0


def is_pinned(entry: Entry) -> bool:
    """Return whether every context shows the message in full: system messages, and those with `pin` true in their
    metadata, except that tool calls and results are never pinned.
    """
    if not isinstance(entry, Message) or not (entry.role == "system" or entry.metadata.get(_PIN) is True):
        return False
    return bool(entry.parts) and not any(isinstance(part, ToolCall | ToolResult) for part in entry.parts)


def turns_of(entries: Sequence[Entry], cost: Callable[[Entry], int] = entry_tokens) -> list[Turn]:
    """Return the turns of consecutive messages of a path, in order; `cost` gives a message's estimate."""
    starts = set(turn_starts(entries))
    found: list[list[Entry]] = []
    for entry in entries:
        if not found or entry.seq in starts:
            found.append([])
        found[-1].append(entry)
    return [Turn(tuple(turn), sum(map(cost, turn)) + _unanswered(turn) * _NO_RESULT_TOKENS) for turn in found]


def _unanswered(turn: Sequence[Entry]) -> int:
    """Return how many calls of a turn have no result, so that a prompt gives them one."""
    parts = [part for entry in turn if isinstance(entry, Message) and entry.uses_tools for part in entry.parts]
    if not parts:
        return 0
    answered = {part.id for part in parts if isinstance(part, ToolResult)}
    return sum(1 for part in parts if isinstance(part, ToolCall) and part.id not in answered)


def oldest(turns: Sequence[Turn], *, factor: float, at_least: float, leave: float) -> int:
    """Return how many of the oldest turns make up `at_least` tokens while `leave` tokens and the newest turn remain.

    As many as that leaves, if it is fewer; 0 for none.
    """
    remains = sum(turn.tokens for turn in turns) * factor
    taken = 0.0
    for count, turn in enumerate(turns[:-1]):
        cost = turn.tokens * factor
        if taken >= at_least or remains - cost < leave:
            return count
        taken += cost
        remains -= cost
    return max(0, len(turns) - 1)


def part_text(part: Part) -> str:
    """Return a part as a summary's source shows it: words, calls and results; never bytes, never reasoning."""
    match part:
        case Text():
            return part.text
        case ToolCall():
            return f"[calls {part.name} with {part.arguments}]"
        case ToolResult():
            return f"[{'error' if part.is_error else 'result'}: {part.content}]"
        case File():
            return f"[{part.media_type.partition('/')[0]}: {part.name or part.url or part.sha256}]"
        case _:
            return ""


def speaker_of(entry: Message) -> str:
    """Return whom a summary or a quotation names as the one who said it."""
    return entry.content.agent_name or entry.role


def line_of(entry: Message) -> Line:
    """Return a message as one line of a summary's source, a long one clipped."""
    text = "\n".join(filter(None, map(part_text, entry.parts)))
    return Line(entry.seq, speaker_of(entry), clipped(text, max_tokens=MAX_LINE_TOKENS))


def lines_of(entries: Sequence[Entry], *, without: Sequence[int] = ()) -> list[Line]:
    """Return the lines of what a summary shall tell: not of pinned messages, which are shown anyway, nor of erased
    ones.
    """
    return [
        line_of(entry)
        for entry in entries
        if isinstance(entry, Message) and entry.parts and entry.seq not in without and not is_pinned(entry)
    ]


def segment_of(entries: Sequence[Entry], *, level: int = 0, max_tokens: int, without: Sequence[int] = ()) -> Segment:
    """Return an extractive segment of whole turns."""
    said = [
        f"{extract.line.speaker}: {extract.text}"
        for extract in extracted(lines_of(entries, without=without), max_tokens=max_tokens)
    ]
    return _segment(
        "\n".join(said),
        first_seq=entries[0].seq,
        last_seq=entries[-1].seq,
        level=level,
        source_tokens=sum(map(entry_tokens, entries)),
        pins=tuple(entry.seq for entry in entries if is_pinned(entry)),
    )


def merged(segments: Sequence[Segment], *, max_tokens: int) -> Segment:
    """Return one extractive segment in place of several consecutive ones."""
    lines = [Line(segment.first_seq, "", line) for segment in segments for line in segment.text.splitlines()]
    return _segment(
        "\n".join(extract.text for extract in extracted(lines, max_tokens=max_tokens)),
        first_seq=segments[0].first_seq,
        last_seq=segments[-1].last_seq,
        level=max(segment.level for segment in segments) + 1,
        source_tokens=sum(segment.source_tokens for segment in segments),
        pins=tuple(pin for segment in segments for pin in segment.pins),
    )


def _segment(
    text: str, *, first_seq: int, last_seq: int, level: int, source_tokens: int, pins: tuple[int, ...]
) -> Segment:
    fitting = text.encode()[:MAX_SEGMENT_BYTES].decode(errors="ignore")
    return Segment(
        first_seq=first_seq,
        last_seq=last_seq,
        level=level,
        text=fitting,
        tokens=summary_tokens(first_seq, last_seq, fitting),
        source_tokens=source_tokens,
        method="extractive",
        pins=pins,
    )


def level_of(source_tokens: float, chunk_tokens: int) -> int:
    """Return the level of a segment that is made from so many tokens at once."""
    return max(0, round(math.log(max(1.0, source_tokens / chunk_tokens), FAN_IN)))


def mergeable(chain: Sequence[Placed]) -> list[Placed]:
    """Return the oldest FAN_IN consecutive segments of the lowest level that has so many, or none."""
    for level in sorted({one.segment.level for one in chain}):
        run: list[Placed] = []
        for one in chain:
            joined = not run or run[-1].stop == one.start
            run = [*run, one] if one.segment.level == level and joined else [one] if one.segment.level == level else []
            if len(run) == FAN_IN:
                return run
    return []


class Job(NamedTuple):
    """A segment that should be made: of the messages at the places from `start` on, below `stop`, or, if `parts` are
    given, of these segments. `again`: it replaces one that was made without a model.
    """

    start: int
    stop: int
    parts: tuple[Segment, ...] = ()
    again: bool = False


def squeezable(chain: Sequence[Placed]) -> list[Placed]:
    """Return which segments to merge when all together are too many: `mergeable`, else the oldest neighbours."""
    run = mergeable(chain)
    if run:
        return run
    for one in chain:
        if run and (run[-1].stop != one.start or len(run) == FAN_IN):
            break
        run.append(one)
    return run if len(run) > 1 else []
