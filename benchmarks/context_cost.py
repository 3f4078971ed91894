"""What contexts cost over a long conversation: prompts, cache hits, summaries; all strategies, the whole service.

Conversations are made: questions of about 110 tokens and answers of about 430, both of very different lengths, one
model call a turn, instructions of 800 tokens. The summarizer writes as much as it may, at once after each answer. The
cost of a run is what a model with a prefix cache charges: a tenth for tokens that it has seen, in the same order, in
the prompt before, and five times for tokens that it writes, which are counted for summaries only. In millions of input
tokens.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.messages import assistant, user
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.records import record_prompt
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.domain.summaries import Method
from chatkeep.domain.tokens import message_tokens, text_tokens
from chatkeep.ports.summarizer import SummaryRequest
from chatkeep.services.compaction import Compactor
from chatkeep.services.context import ContextService, Question
from chatkeep.services.history import HistoryService
from chatkeep.stores.memory import MemoryStore

SEEDS = 5
TURNS = (500, 2_000)
_ALICE = Scope("bench", "bench", "alice")
_SYSTEM = "rule " * 780
_CACHED = 0.1
_WRITTEN = 5.0
_WORDS = [f"w{number}" if number % 7 == 0 else "word" for number in range(400)]


@dataclass
class Spent:
    """One run, turn by turn. `reads` and `writes` are those of the summarizer; `build_ms` times the choosing alone."""

    prompts: list[int] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    build_ms: list[float] = field(default_factory=list)
    publishes: int = 0
    calls: int = 0
    conversation: int = 0

    def cost(self, start: int = 0, stop: int | None = None) -> float:
        """Return the cost of some turns, in millions of input tokens."""
        cached, prompts = sum(self.cached[start:stop]), sum(self.prompts[start:stop])
        summaries = sum(self.reads[start:stop]) + _WRITTEN * sum(self.writes[start:stop])
        return (prompts - cached + _CACHED * cached + summaries) / 1e6


class _Writer:
    """Writes as much as it may, and counts what it is asked."""

    method: Method = "model"
    name: str | None = "writer"

    def __init__(self) -> None:
        self.reads = self.writes = self.calls = 0

    async def summarize(self, request: SummaryRequest) -> str:
        asked = record_prompt(
            request.lines, previous=request.previous, max_tokens=request.max_tokens, is_merge=request.is_merge
        )
        text = f"Facts: {self.calls} " + "fact " * request.max_tokens
        while text_tokens(text) > request.max_tokens:
            text = text[: int(len(text) * 0.98)]
        self.calls += 1
        self.reads += sum(message_tokens(message.parts) for message in asked)
        self.writes += round(text_tokens(text))
        return text


class _Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def _said(chance: random.Random, tokens: float) -> str:
    """Return a text of about so many tokens, as often shorter as longer, up to ten times."""
    count = max(3, int(min(10 * tokens, tokens * chance.lognormvariate(-0.32, 0.8)) / 0.92))
    return " ".join(chance.choices(_WORDS, k=count))


async def _play(policy: ContextPolicy, turns: int, seed: int, *, idle_seconds: float = 0) -> Spent:
    """Play one conversation against the services; with `idle_seconds` the pauses have this median, else none."""
    chance = random.Random(seed)  # noqa: S311 -- made conversations
    clock, spent, writer = _Clock(), Spent(), _Writer()
    store = MemoryStore(clock=clock, max_bytes=10**10)
    history = HistoryService(store, RetentionPolicies())
    context = ContextService(store, clock, policy)
    compactor = Compactor(store, clock, policy, writer, fixed_tokens=context.fixed_tokens)
    await store.create_session(_ALICE, "s", NewSession())
    for _ in range(turns):
        pause = idle_seconds * chance.lognormvariate(0, 1) if idle_seconds else 1.0
        clock.now += timedelta(seconds=pause)
        asked, answered = _said(chance, 110), _said(chance, 430)
        stored = await history.append(_ALICE, "s", [user(asked)])
        question = Question(upto_seq=stored.session.last_seq, system=(_SYSTEM,))
        report = (await context.prepare(_ALICE, "s", question)).prompt.report
        is_warm = pause <= 300  # noqa: PLR2004 -- what a provider's cache lasts
        spent.prompts.append(report.tokens["total"])
        spent.cached.append(report.prefix_fraction * report.tokens["total"] if is_warm else 0.0)
        spent.build_ms.append(report.build_ms)
        spent.publishes += report.published
        await history.append(_ALICE, "s", [assistant(answered)])
        spent.conversation += round(text_tokens(asked) + text_tokens(answered)) + 8
        reads, writes = writer.reads, writer.writes
        await compactor.compact(_ALICE, "s")
        spent.reads.append(writer.reads - reads)
        spent.writes.append(writer.writes - writes)
    spent.calls = writer.calls
    await store.close()
    return spent


def _full(turns: int, seed: int) -> Spent:
    """Return what sending everything, every time, would cost; reckoned, since no window would take it."""
    chance = random.Random(seed)  # noqa: S311 -- made conversations
    spent = Spent()
    before = 0.0
    held = message_tokens(()) + text_tokens(_SYSTEM)
    for _ in range(turns):
        held += text_tokens(_said(chance, 110)) + 4
        spent.prompts.append(round(held))
        spent.cached.append(before)
        before = held
        held += text_tokens(_said(chance, 430)) + 4
    spent.reads = spent.writes = [0] * turns
    spent.conversation = round(held)
    return spent


_POLICIES = {
    "anchored, 8k/4k": ContextPolicy(relevance="off"),
    "anchored, 8k/4k, relevant messages quoted": ContextPolicy(),
    "anchored, 32k/16k": ContextPolicy(relevance="off", tmax_tokens=32_768, tretained_tokens=16_384),
    "the newest 10 messages": ContextPolicy(strategy="recent", relevance="off", tmax_tokens=32_768),
    "5 messages and 5 in a summary": ContextPolicy(strategy="window_summary", relevance="off", tmax_tokens=32_768),
}


_LONG = ("anchored, 8k/4k", "anchored, 32k/16k")
"""Those that are played for the longest conversations too."""


async def _figures(seeds: int, turns: Sequence[int]) -> dict[tuple[str, int], list[Spent]]:
    found: dict[tuple[str, int], list[Spent]] = {}
    for count in turns:
        for name, policy in _POLICIES.items():
            if count > turns[0] and name not in _LONG:
                continue
            found[name, count] = [await _play(policy, count, seed) for seed in range(seeds)]
            print(name, count, file=sys.stderr, flush=True)
        found["everything", count] = [_full(count, seed) for seed in range(seeds)]
    name = "anchored, 8k/4k, pauses of 40 s in the median"
    found[name, turns[0]] = [
        await _play(_POLICIES["anchored, 8k/4k"], turns[0], seed, idle_seconds=40) for seed in range(seeds)
    ]
    return found


def _row(name: str, turns: int, runs: Sequence[Spent]) -> str:
    prompts = [sum(run.prompts) for run in runs]
    hit = statistics.mean(sum(run.cached) / total for run, total in zip(runs, prompts, strict=True))
    read = statistics.mean(sum(run.reads) / run.conversation for run in runs)
    calls = statistics.mean(run.calls / turns for run in runs)
    mean = statistics.mean(prompts) / turns
    publishes = statistics.mean(run.publishes / turns for run in runs)
    cost = statistics.mean(run.cost() for run in runs)
    early = statistics.mean(run.cost(50, 250) / 200 for run in runs) * 1e6
    late = statistics.mean(run.cost(turns - 200, turns) / 200 for run in runs) * 1e6
    return (
        f"| {name} | {turns:,} | {mean:,.0f} | {hit:.1%} | {read:.2f} | {calls:.2f} | {publishes:.2f} | {cost:.2f} "
        f"| {early:,.0f} | {late:,.0f} |"
    )


def run(seeds: int = SEEDS, turns: Sequence[int] = TURNS) -> str:
    """Return the figures as Markdown."""
    found = asyncio.run(_figures(seeds, turns))
    head = (
        "| strategy | turns | tokens a prompt | prefix hits | summary input ÷ conversation | summary calls a turn "
        "| changed heads a turn | cost | a turn from 50 to 250, tokens | the last 200 turns |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = [_row(name, count, runs) for (name, count), runs in found.items()]
    return f"## Cost\n\n{__doc__}\n{head}" + "\n".join(rows) + "\n"
