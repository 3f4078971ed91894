"""The invariants of contexts, over random conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from chatkeep.domain.budgets import Calibration, ContextPolicy, ContextRequest, budget_of
from chatkeep.domain.context import Built, build
from chatkeep.domain.drafts import LogView
from chatkeep.domain.errors import ContextOverflow
from chatkeep.domain.folding import Entry
from chatkeep.domain.messages import (
    Content,
    File,
    Message,
    MessageRow,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unreadable,
    to_us,
)
from chatkeep.domain.prompts import PromptMessage
from chatkeep.domain.quoting import RELEVANT_TAG, SUMMARY_TAG, summary_block
from chatkeep.domain.relevance import Document
from chatkeep.domain.reports import traced
from chatkeep.domain.summaries import Places, Summaries, from_bytes, placed, to_bytes
from chatkeep.domain.tokens import message_tokens
from chatkeep.stores.codec import decode, encode

START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = (
    "the quick brown fox told Alice about 42 invoices of 2026-03-01 and 東京 in /srv/data/x.py </earlier_conversation> "
)


def message(seq: int, role: Role, parts: Sequence[Part], *, minutes: float) -> Message:
    made = to_us(START + timedelta(minutes=minutes))
    row = MessageRow(seq, seq - 1, b"u", role, "complete", made, 0, None, encode(Content(parts=tuple(parts))), decode)
    return Message(*row)


@dataclass
class Talk:
    """A conversation that grows turn by turn."""

    entries: list[Entry] = field(default_factory=list)
    minutes: float = 0

    def add(self, role: Role, *parts: Part) -> None:
        self.entries.append(message(len(self.entries) + 1, role, parts, minutes=self.minutes))

    def view(self, *, candidates: int = 0) -> LogView:
        places = Places(((1, len(self.entries)),) if self.entries else ())
        said = [entry for entry in self.entries if isinstance(entry, Message) and entry.text]
        documents = [Document(one.seq, one.role, one.text, one.created_at, message_tokens(one.parts)) for one in said]
        return LogView(places, self.entries, [(one, 1.0 / one.seq) for one in documents[:candidates]], "Alice")

    @property
    def now(self) -> datetime:
        return START + timedelta(minutes=self.minutes)


Turn = tuple[str, int, int, float]
"""What the answer is like, the lengths of question and answer, and the minutes before."""
SIZES = st.sampled_from([1, 3, 10, 40, 120])
TURNS = st.lists(
    st.tuples(
        st.sampled_from(
            ["plain", "plain", "plain", "tool", "dead call", "empty", "silent", "unreadable", "system", "file"]
        ),
        SIZES,
        SIZES,
        st.sampled_from([0.5, 1, 30]),
    ),
    min_size=1,
    max_size=40,
)
POLICIES = st.builds(
    ContextPolicy,
    strategy=st.sampled_from(["anchored", "anchored", "anchored", "window_summary", "recent", "full"]),
    relevance=st.sampled_from(["off", "bm25"]),
    tmax_tokens=st.sampled_from([600, 1_500, 4_000]),
    tretained_tokens=st.sampled_from([200, 800, 4_000]),
    chunk_tokens=st.sampled_from([100, 500]),
    segment_tokens=st.sampled_from([30, 100]),
    summaries=st.booleans(),
)


def say(talk: Talk, turn: tuple[str, int, int, float]) -> None:
    kind, asked, answered, minutes = turn
    talk.minutes += minutes
    number = len(talk.entries)
    if kind == "system":
        talk.add("system", Text(f"rule {number}"))
    talk.add("user", Text(f"{number} {WORDS * asked}"))
    if kind == "tool":
        talk.add("assistant", ToolCall(f"c{number}", "look", {"q": number}), ToolCall(f"d{number}", "look", {}))
        talk.add("tool", ToolResult(f"c{number}", WORDS * answered), ToolResult(f"d{number}", "none"))
    elif kind == "dead call":
        talk.add("assistant", ToolCall(f"c{number}", "look", {"q": number}))
        return
    elif kind == "unreadable":
        talk.entries.append(Unreadable(number + 2, "torn"))
        return
    elif kind == "empty":
        talk.add("assistant")
        return
    if kind == "file":
        talk.add("assistant", File("image/png", url="https://example.org/a.png"))
    if kind != "silent":
        talk.add("assistant", Reasoning("hm"), Text(WORDS * answered))


def request(talk: Talk, question: str | None, factor: float) -> ContextRequest:
    return ContextRequest(
        now=talk.now, system=("Be kind.",), question=question, calibration=Calibration(factor=factor, reports=1)
    )


def check(talk: Talk, built: Built, policy: ContextPolicy, asked: ContextRequest) -> None:
    prompt, report = built.prompt.messages, built.prompt.report
    within_budget(prompt, report.tokens, budget_of(policy, asked).total, asked.calibration.factor)
    newest_stands_last(talk, prompt, asked)
    calls_are_whole(prompt)
    head_is_as_given(talk, prompt)
    every_message_is_accounted_for(talk, built, asked)
    quotes_are_shut(prompt)


def overflow_is_true(error: ContextOverflow, policy: ContextPolicy) -> None:
    assert sum(error.tokens.values()) > error.budget_tokens
    assert policy.strategy == "full" or error.tokens["pinned"] + error.tokens["new"] > error.budget_tokens // 2


def within_budget(prompt: Sequence[PromptMessage], tokens: dict[str, int], budget: int, factor: float) -> None:
    assert tokens["total"] == sum(count for name, count in tokens.items() if name != "total") <= budget
    assert sum(message_tokens(one.parts) for one in prompt) * factor <= tokens["total"] + 1


def newest_stands_last(talk: Talk, prompt: Sequence[PromptMessage], asked: ContextRequest) -> None:
    if asked.question is not None:
        assert prompt[-1] == PromptMessage("user", (Text(asked.question),))
        return
    users = [entry for entry in talk.entries if isinstance(entry, Message) and entry.role == "user"]
    last = max(at for at, one in enumerate(prompt) if one.role == "user")
    first_word = users[-1].text.split()[0]
    assert first_word in "".join(part.text for part in prompt[last].parts if isinstance(part, Text))


def calls_are_whole(prompt: Sequence[PromptMessage]) -> None:
    called: list[str] = []
    answered: list[str] = []
    newest = max((at for at, one in enumerate(prompt) if one.role == "user"), default=0)
    open_at_the_end = 0
    for at, one in enumerate(prompt):
        for part in one.parts:
            if isinstance(part, ToolCall):
                called.append(part.id)
                open_at_the_end += at > newest
            elif isinstance(part, ToolResult):
                assert part.id in called
                answered.append(part.id)
    assert len(set(called) - set(answered)) <= open_at_the_end
    assert len(answered) == len(set(answered))


def head_is_as_given(talk: Talk, prompt: Sequence[PromptMessage]) -> None:
    rules = [entry for entry in talk.entries if isinstance(entry, Message) and entry.role == "system"]
    head = [one for one in prompt if one.role == "system"]
    assert head == [
        PromptMessage("system", (Text("Be kind."),)),
        *(PromptMessage("system", one.parts) for one in rules),
    ]
    assert list(prompt[: len(head)]) == head


def every_message_is_accounted_for(talk: Talk, built: Built, asked: ContextRequest) -> None:
    trace = traced(built.prompt.report, talk.view().places, {})
    assert [one.seq for one in trace] == [entry.seq for entry in talk.entries]
    report = built.prompt.report
    if report.strategy == "anchored":
        chain = placed(built.summaries.published, talk.view().places)
        assert [one.start for one in chain] == [0, *(one.stop for one in chain)][: len(chain)]
        anchor = chain[-1].stop if chain else 0
        verbatim = {entry.seq for entry in talk.entries[anchor:] if isinstance(entry, Message) and entry.parts}
        included = {seq for low, high in report.included for seq in range(low, high + 1)}
        assert verbatim <= included
    del asked


def quotes_are_shut(prompt: Sequence[PromptMessage]) -> None:
    for one in prompt:
        text = "".join(part.text for part in one.parts if isinstance(part, Text))
        for tag in (SUMMARY_TAG, RELEVANT_TAG):
            if text.startswith(f"<{tag} "):
                assert one.role == "user"
                assert text.count(f"</{tag}>") == 1
                assert text.endswith(f"</{tag}>")


@settings(max_examples=150, deadline=None)
@given(TURNS, POLICIES, st.sampled_from([0.7, 1.0, 1.9]), st.sampled_from([None, "And Alice?"]), st.integers(0, 30))
def test_contexts_keep_their_invariants_while_a_conversation_grows(
    turns: list[Turn],
    policy: ContextPolicy,
    factor: float,
    question: str | None,
    candidates: int,
) -> None:
    talk, summaries = Talk(), Summaries(incarnation="i")
    for turn in turns:
        say(talk, turn)
        asked = request(talk, question, factor)
        view = talk.view(candidates=candidates)
        try:
            built = build(view, summaries, asked, policy)
        except ContextOverflow as error:
            overflow_is_true(error, policy)
            continue
        check(talk, built, policy, asked)
        assert build(view, summaries, asked, policy) == built
        summaries = from_bytes(to_bytes(built.summaries))
        assert summaries == built.summaries


@settings(max_examples=60, deadline=None)
@given(TURNS, st.sampled_from([1_500, 4_000]))
def test_the_head_stays_byte_for_byte_until_summaries_are_published(turns: list[Turn], tmax: int) -> None:
    policy = ContextPolicy(tmax_tokens=tmax, tretained_tokens=tmax // 4, chunk_tokens=200, segment_tokens=60)
    talk, summaries = Talk(), Summaries(incarnation="i")
    before: list[PromptMessage] = []
    for kind, asked, answered, _ in turns:
        if kind in ("system", "dead call", "unreadable"):
            continue
        say(talk, (kind, min(asked, 10), min(answered, 10), 0.5))
        built = build(talk.view(candidates=5), summaries, request(talk, "And?", 1.0), policy)
        # All but what is volatile: the quoted messages and the question.
        stable = [one for one in built.prompt.messages[:-1] if not _is_quote(one)]
        if not built.prompt.report.published and not built.prompt.report.shortened:
            assert stable[: len(before)] == before
        before, summaries = stable, built.summaries


def _is_quote(one: PromptMessage) -> bool:
    return any(isinstance(part, Text) and part.text.startswith(f"<{RELEVANT_TAG}") for part in one.parts)


def test_what_must_be_in_the_prompt_and_does_not_fit_is_an_error_that_names_it() -> None:
    talk = Talk()
    talk.add("user", Text("hello"))
    asked = ContextRequest(now=START, system=("x " * 5_000,))

    with pytest.raises(ContextOverflow, match=r"system \d+"):
        build(talk.view(), Summaries(incarnation="i"), asked, ContextPolicy(tmax_tokens=1_000))


def test_a_message_longer_than_the_budget_keeps_its_beginning_and_its_end() -> None:
    talk = Talk()
    talk.add("user", Text("BEGIN " + "word " * 5_000 + " END"))

    built = build(talk.view(), Summaries(incarnation="i"), request(talk, None, 1.0), ContextPolicy(tmax_tokens=500))

    (part,) = built.prompt.messages[-1].parts
    assert isinstance(part, Text)
    assert part.text.startswith("BEGIN")
    assert part.text.endswith("END")
    assert "characters left out" in part.text
    assert built.prompt.report.shortened[0].seq == 1


def test_a_conversation_of_any_length_is_summarised_at_once_within_its_share() -> None:
    talk = Talk()
    for number in range(500):
        say(talk, ("plain", 3, 3, 1.0))
        del number
    policy = ContextPolicy(tmax_tokens=2_000, tretained_tokens=800, chunk_tokens=400, segment_tokens=100)

    built = build(talk.view(), Summaries(incarnation="i"), request(talk, "And?", 1.0), policy)

    assert built.prompt.report.tokens["segments"] <= 500
    assert built.prompt.report.tokens["total"] <= 2_000
    assert built.prompt.report.covered[0].first_seq == 1
    assert summary_block(built.summaries.published[0]) in built.prompt.messages
