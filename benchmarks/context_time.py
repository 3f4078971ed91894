"""How long choosing a prompt takes in a session of 10,000 messages, in a SQLite file on this machine's disk.

Questions and answers are made of a few hundred words, so that each question has candidates. The first prompt of all
reads the whole session; then one turn after the other is appended and its prompt is chosen, as a chat does. What is
done between two turns, summaries and vectors, is over before the next one. A prompt that is the first to use a summary
stores it; that commit is a part of the last but one figure only. The ways take turns, in three rounds, and each figure
is the median of them.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.context_evidence import MODEL
from chatkeep import Chatkeep, assistant, user
from chatkeep.domain.budgets import ContextPolicy, Relevance
from chatkeep.domain.scope import Scope
from chatkeep.embedders.minilm import MiniLM
from chatkeep.ports.clock import system_clock
from chatkeep.services.compaction import Compactor
from chatkeep.services.context import ContextService, Question
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.summarizers.extractive import ExtractiveSummarizer

MESSAGES = 10_000
TURNS = 300
ROUNDS = 3
_SCOPE = Scope("default", "default", "alice")
_STEMS = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()  # noqa: SIM905 -- easier to read


def _words(chance: random.Random) -> Iterator[str]:
    """Yield made words, few of them often and many rarely, as people do."""
    known = ["".join(chance.choices(_STEMS, k=chance.choice((2, 2, 3, 4)))) for _ in range(5_000)]
    while True:
        yield known[min(int(20 * (chance.paretovariate(1.0) - 1)), len(known) - 1)]


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class _Timed:
    """Calls what writes, and adds up how long it takes."""

    def __init__(self, write: Callable[..., Awaitable[Any]]) -> None:
        self._write = write
        self.seconds = 0.0

    async def __call__(self, *given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return await self._write(*given, **named)
        finally:
            self.seconds += time.perf_counter() - begun


async def _measured(folder: Path, policy: ContextPolicy) -> dict[str, float]:
    chance = random.Random(1)  # noqa: S311 -- made conversations
    words = _words(chance)

    def said(count: int) -> str:
        return " ".join(next(words) for _ in range(count))

    path = folder / "chats.db"
    if not path.exists():
        async with Chatkeep.open(f"sqlite:///{path}") as keep:
            chats = keep.for_user("alice")
            await chats.create("s")
            for _ in range(MESSAGES // 100):
                batch = [(user(said(20)), assistant(said(60))) for _ in range(50)]
                await chats.append("s", *(message for turn in batch for message in turn))
    store = await open_sqlite(path, clock=system_clock)
    embedder = MiniLM(MODEL) if policy.relevance == "hybrid" else None
    context = ContextService(store, system_clock, policy, embedder=embedder)
    compactor = Compactor(store, system_clock, policy, ExtractiveSummarizer(), fixed_tokens=context.fixed_tokens)
    begun = time.perf_counter()
    await context.prepare(_SCOPE, "s", Question(text=said(12)))
    first = time.perf_counter() - begun
    if embedder is not None:
        await embedder.load()
        await context.prepare(_SCOPE, "s", Question(text=said(12)))
        await context.settled()
    taken: list[float] = []
    whole: list[float] = []
    put = _Timed(store.put_state)
    async with Chatkeep.open(f"sqlite:///{path}") as keep:
        chats = keep.for_user("alice")
        for _ in range(TURNS):
            (asked,) = await chats.append("s", user(said(12)))
            put.seconds = 0.0
            begun = time.perf_counter()
            with patch.object(store, "put_state", put):
                await context.prepare(_SCOPE, "s", Question(upto_seq=asked.seq))
            whole.append(1000 * (time.perf_counter() - begun))
            taken.append(whole[-1] - 1000 * put.seconds)
            await chats.append("s", assistant(said(60)))
            await compactor.compact(_SCOPE, "s")
            await context.settled()
    await context.close()
    await store.close()
    return {
        "p50": _percentile(taken, 0.5),
        "p99": _percentile(taken, 0.99),
        "p99 with commits": _percentile(whole, 0.99),
        "first": 1000 * first,
    }


def run() -> str:
    """Return the figures as Markdown."""
    ways: list[tuple[str, Relevance, str]] = [("without relevance", "off", "≤ 5"), ("words", "bm25", "≤ 5")]
    if MODEL.is_dir():
        ways.append(("words and meaning", "hybrid", ""))
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in ways}
    for _ in range(ROUNDS):
        for name, relevance, _ in ways:
            with tempfile.TemporaryDirectory() as folder:
                rounds[name].append(asyncio.run(_measured(Path(folder), ContextPolicy(relevance=relevance))))
    rows: list[str] = []
    for name, _, asked in ways:
        p50, p99, whole, first = (statistics.median(part) for part in zip(*map(dict.values, rounds[name]), strict=True))
        rows.append(f"| {name} | {p50:.1f} | {p99:.1f} | {asked} | {whole:.1f} | {first:,.0f} |")
    head = (
        "| relevance | p50, ms | p99, ms | asked | p99 with commits, ms | the first of all, ms |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
    )
    return f"## Time\n\n{__doc__}\n{head}" + "\n".join(rows) + "\n"
