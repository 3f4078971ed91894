"""What the model sees of a conversation: chosen under one budget, with a reason for every message.

The order is `[system + tools] [pinned] [summaries, oldest first] [recent, verbatim] [relevant older ones, quoted]
[new message]`: what seldom changes stands first, so that a provider's prefix cache finds it again, and what changes
with every question stands last. Summaries and quoted messages are data in the user's role.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from chatkeep.domain.budgets import Budget, ContextPolicy, ContextRequest
from chatkeep.domain.drafts import Draft, LogView, is_system, segment_tokens
from chatkeep.domain.errors import ContextOverflow
from chatkeep.domain.folding import (
    Entry,
    level_of,
    merged,
    segment_of,
    squeezable,
    turns_of,
)
from chatkeep.domain.messages import Message, Part, ToolResult, Unreadable
from chatkeep.domain.prompts import PromptMessage, clipped_part, projected
from chatkeep.domain.quoting import (
    EXCERPT_TOKENS,
    LEAST_QUOTE_TOKENS,
    QUOTES_TOKENS,
    quote_tokens,
    quotes_of,
    summary_block,
)
from chatkeep.domain.relevance import Document, excerpt
from chatkeep.domain.reports import Covered, Omitted, Report, Shortened, ranges_of
from chatkeep.domain.summaries import (
    MAX_SEGMENTS,
    Placed,
    Places,
    Segment,
    Summaries,
    anchor,
    gaps,
    published,
)
from chatkeep.domain.tokens import TOKENS_PER_MESSAGE, message_tokens, part_tokens

_LEAST_CLIP_TOKENS = 64
_OLDER = "older than the strategy shows"
_NOTHING = "nothing of it is sent to a model"
_NO_SUMMARIES = "beyond the budget; summaries are off"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages that go to the model, and the report that explains them."""

    messages: tuple[PromptMessage, ...]
    report: Report


@dataclass(frozen=True, slots=True)
class Built:
    """A prompt, and the summaries as this prompt leaves them, to be stored before it is sent."""

    prompt: Prompt
    summaries: Summaries


def build(view: LogView, summaries: Summaries, request: ContextRequest, policy: ContextPolicy) -> Built:
    """Choose what the model sees. Pure: the same arguments give the same prompt, and nothing is written.

    The prompt's estimate never exceeds the budget. Raises ContextOverflow when what must be in it does not fit.
    """
    draft = Draft(view, summaries, request, policy)
    if policy.strategy == "anchored":
        _anchored(draft, cold=is_cold(view.entries, request, policy))
    elif policy.strategy == "full":
        draft.verbatim(0)
    else:
        _windowed(draft)
    shortened = [] if policy.strategy == "full" else _shorten(draft)
    if draft.total() > draft.budget.total:
        raise ContextOverflow(budget_tokens=draft.budget.total, tokens=draft.tokens())
    prompt = _written(draft, request, shortened, is_new=draft.summaries.published != summaries.published)
    return Built(prompt, draft.summaries)


def is_cold(entries: Sequence[Entry], request: ContextRequest, policy: ContextPolicy) -> bool:
    """Return whether the provider has forgotten the last prompt: the message before the newest one is too old."""
    said = [entry for entry in entries[-2:] if isinstance(entry, Message)]
    last = said[-1:] if request.question is not None else said[:-1]
    return bool(last) and request.now - last[0].created_at > policy.idle


def _anchored(draft: Draft, *, cold: bool) -> None:
    """Publish summaries when the room is used up, or when it costs nothing; make them now where none are ready."""
    view, budget = draft.view, draft.budget
    draft.settle(draft.summaries)
    for start, stop in gaps(draft.chain):
        draft.settle(published(draft.summaries, view.places, extra=[_stand_in(draft, start, stop)]))
    has_older = bool(draft.chain or view.candidates)
    room = budget.room if has_older else budget.total
    if cold or draft.total() > room:
        draft.settle(published(draft.summaries, view.places))
    while draft.total() > room and len(draft.turns) > 1:
        segment = _stand_in(draft, anchor(draft.chain), draft.foldable())
        draft.settle(published(draft.summaries, view.places, extra=[segment]))
        room = budget.room
    while (run := [one.segment for one in squeezable(draft.chain)]) and is_too_much(draft.chain, budget, draft.factor):
        segment = merged(run, max_tokens=draft.budget.segment)
        draft.settle(published(draft.summaries, view.places, extra=[segment]))


def is_too_much(chain: Sequence[Placed], budget: Budget, factor: float) -> bool:
    """Return whether the segments take more than their share of the prompt, or are too many to be kept."""
    return segment_tokens(chain, factor) > budget.summaries or len(chain) > MAX_SEGMENTS // 2


def _stand_in(draft: Draft, start: int, stop: int) -> Segment:
    """Return a segment, made without a model, for the places from `start` on, below `stop`."""
    places, policy = draft.view.places, draft.policy
    entries = [entry for entry in draft.view.entries if start <= _place(places, entry) < stop]
    level = level_of(sum(map(draft.cost, entries)), draft.budget.chunk)
    most = draft.budget.segment if policy.summaries else 0
    made = segment_of(entries, level=level, max_tokens=most, without=draft.summaries.redacted)
    return replace(made, first_seq=places.seq(start), last_seq=places.seq(stop - 1))


def _place(places: Places, entry: Entry) -> int:
    place = places.of(entry.seq)
    return -1 if place is None else place


def _windowed(draft: Draft) -> None:
    """Show the newest messages, whole turns of them, and with `window_summary` one summary of those before."""
    policy, view = draft.policy, draft.view
    summarised = policy.strategy == "window_summary"
    most = policy.recent if summarised else policy.max_messages
    start = window_start(view.entries, most - (0 if draft.question is None else 1))
    draft.verbatim(view.places.of(start) or 0)
    while draft.total() > draft.budget.total and len(draft.turns) > 1:
        draft.verbatim(_place(view.places, draft.turns[1].entries[0]))
    shown = _place(view.places, draft.turns[0].entries[0]) if draft.turns else view.places.count
    older = shown
    if summarised and policy.summaries and shown > 0:
        entries = before_window(view.places, view.entries, shown, policy.summarised)
        if entries:
            kept = draft.summaries.window
            if kept is None or not stands_for(kept, entries):
                kept = segment_of(entries, max_tokens=draft.budget.segment, without=draft.summaries.redacted)
            segment = kept
            older = view.places.of(segment.first_seq) or 0
            draft.chain = [Placed(segment, older, shown)]
            draft.summaries = replace(draft.summaries, window=segment)
            if draft.total() > draft.budget.total:
                draft.chain = []
                older = shown
    draft.omitted += [Omitted(low, high, _OLDER) for low, high in view.places.seqs(0, older)]


def window_start(entries: Sequence[Entry], count: int) -> int:
    """Return the seq from which on whole turns hold at most `count` messages; the newest turn in any case."""
    turns = turns_of([entry for entry in entries if not is_system(entry)])
    start, held = 0, 0
    for turn in reversed(turns):
        held += len(turn.entries)
        if start and held > count:
            break
        start = turn.entries[0].seq
    return start


def before_window(places: Places, entries: Sequence[Entry], shown: int, count: int) -> list[Entry]:
    """Return the whole turns of at most `count` messages before the place `shown`, at least one if there is any."""
    before = [entry for entry in entries if 0 <= _place(places, entry) < shown and not is_system(entry)]
    start = window_start(before, count)
    return [entry for entry in before if entry.seq >= start]


def stands_for(segment: Segment, entries: Sequence[Entry]) -> bool:
    """Return whether the segment is of just these messages."""
    return (segment.first_seq, segment.last_seq) == (entries[0].seq, entries[-1].seq)


def _shorten(draft: Draft) -> list[Shortened]:
    """Clip what is too long for the budget: what tools gave back first, then answers, then what the user said."""
    shortened: list[Shortened] = []
    tried: set[int] = set()
    while (over := draft.total() - draft.budget.total) > 0:
        entry = _longest(draft, tried)
        if entry is None:
            break
        tried.add(entry.seq)
        before = message_tokens(entry.parts)
        parts = _clipped(entry.parts, most=max(_LEAST_CLIP_TOKENS, before - math.ceil(over / draft.factor)))
        after = message_tokens(parts)
        if after < before:
            draft.short[entry.seq] = parts
            shortened.append(Shortened(entry.seq, draft.count(before), draft.count(after)))
    return shortened


def _longest(draft: Draft, tried: set[int]) -> Message | None:
    said = [
        entry
        for turn in draft.turns
        for entry in turn.entries
        if isinstance(entry, Message) and entry.seq not in tried and draft.cost(entry) > _LEAST_CLIP_TOKENS
    ]
    order = {"tool": 2, "assistant": 1, "system": 0, "user": 0}
    return max(said, key=lambda entry: (order[entry.role], draft.cost(entry)), default=None)


def _clipped(parts: Sequence[Part], *, most: float) -> tuple[Part, ...]:
    """Return the parts with their longest texts clipped, so that all take about `most` tokens."""
    tokens = [part_tokens(part) for part in parts]
    over = sum(tokens) + TOKENS_PER_MESSAGE - most
    clipped: list[Part] = list(parts)
    for at in sorted(range(len(parts)), key=lambda at: (isinstance(parts[at], ToolResult), tokens[at]), reverse=True):
        if over <= 0:
            break
        clipped[at] = clipped_part(parts[at], max_tokens=max(_LEAST_CLIP_TOKENS / 2, tokens[at] - over))
        over -= tokens[at] - part_tokens(clipped[at])
    return tuple(clipped)


def _written(draft: Draft, request: ContextRequest, shortened: Sequence[Shortened], *, is_new: bool) -> Prompt:
    """Return the messages and the report."""
    tokens = draft.tokens()
    verbatim = [entry for turn in draft.turns for entry in turn.entries if isinstance(entry, Message) and entry.parts]
    shown = projected([_as_shown(entry, draft) for entry in verbatim], more=draft.question is not None)
    seen = {entry.seq for entry in verbatim} | {entry.seq for entry in draft.pins}
    newest = draft.turns[-1].entries[0].seq if draft.turns and draft.question is None else None
    head = [message for seq, message in shown if newest is None or seq < newest]
    tail = [message for seq, message in shown if newest is not None and seq >= newest]
    relevant = _relevant(draft, seen, draft.budget.total - sum(tokens.values()))
    quotes = quotes_of([document for document, _ in relevant])
    tokens["relevant"] = 0 if quotes is None else draft.count(message_tokens(quotes.parts))
    messages = [
        *draft.system,
        *(PromptMessage(entry.role, entry.parts) for entry in draft.pins),
        *(summary_block(one.segment) for one in draft.chain if one.segment.text),
        *head,
        *([quotes] if quotes is not None else []),
        *tail,
        *([draft.question] if draft.question is not None else []),
    ]
    told = [one for one in draft.chain if one.segment.text]
    unsaid = _NOTHING if draft.policy.summaries else _NO_SUMMARIES
    silent = [one for one in draft.chain if not one.segment.text]
    report = Report(
        strategy=draft.policy.strategy,
        relevance=draft.policy.relevance,
        budget_tokens=draft.budget.total,
        tokens={**tokens, "total": sum(tokens.values())},
        included=ranges_of(sorted(seen)),
        relevant=tuple((document.seq, score) for document, score in relevant),
        covered=tuple(
            Covered(
                one.segment.first_seq,
                one.segment.last_seq,
                one.segment.level,
                one.segment.method,
                draft.count(one.segment.tokens),
            )
            for one in told
        ),
        omitted=(
            *draft.omitted,
            *(Omitted(one.segment.first_seq, one.segment.last_seq, unsaid) for one in silent),
            *_blank(draft),
        ),
        shortened=tuple(shortened),
        source_tokens=draft.count(sum(one.segment.source_tokens for one in told)),
        published=is_new,
        estimate=request.calibration.source,
    )
    return Prompt(tuple(messages), report)


def _as_shown(entry: Message, draft: Draft) -> Message:
    parts = draft.short.get(entry.seq)
    return entry if parts is None else _Shortened.of(entry, parts)


class _Shortened(Message):
    """A message of which only a part is shown."""

    @classmethod
    def of(cls, entry: Message, parts: tuple[Part, ...]) -> _Shortened:
        short = cls(*entry)
        short.__dict__["content"] = replace(entry.content, parts=parts)
        return short


def _blank(draft: Draft) -> Iterable[Omitted]:
    for turn in draft.turns:
        for entry in turn.entries:
            if isinstance(entry, Unreadable):
                yield Omitted(entry.seq, entry.seq, "its row cannot be read")
            elif entry.redacted:
                yield Omitted(entry.seq, entry.seq, "redacted")
            elif not entry.parts:
                yield Omitted(entry.seq, entry.seq, "empty")


def _relevant(draft: Draft, seen: set[int], left: int) -> list[tuple[Document, float]]:
    """Return the best candidates that are not in the prompt already, within their budget, oldest first."""
    left = min(left, draft.budget.relevant) - draft.count(QUOTES_TOKENS)
    least = draft.count(LEAST_QUOTE_TOKENS)
    chosen: list[tuple[Document, float]] = []
    for document, score in draft.view.candidates:
        if left < least:
            break
        if document.seq in seen or min(document.tokens, EXCERPT_TOKENS) * draft.factor > left:
            continue
        short = document
        if document.tokens > EXCERPT_TOKENS:
            short = replace(document, text=excerpt(document.text, draft.view.query, max_tokens=EXCERPT_TOKENS))
        cost = draft.count(quote_tokens(short))
        if cost <= left:
            left -= cost
            chosen.append((short, score))
    return sorted(chosen, key=lambda one: one[0].seq)
