"""Whether the older messages that are picked for a question hold its answer, on real conversations with evidence.

A question counts if every message that its annotators named as evidence is picked within the budget. Categories of
questions that have no answer are left out. The extract is what stands in for a summary: of each sitting a part of its
tokens; counted are evidence messages of which a sentence is in it. The data's path is an argument, because its licence
allows no copy here. `select` and `prepare` are also what an evaluation of selectors may call.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatkeep.domain.extraction import Line, extracted
from chatkeep.domain.relevance import Document, Lexicon, best

BUDGETS = (512, 1_024, 2_048, 4_096)
ASKED = {512: 71, 1_024: 77, 2_048: 83, 4_096: 87}
SHARES = {0.08: None, 0.15: 49, 0.25: None}
_UNANSWERED = ("adversarial", "abstention")

_indexed: dict[int, Lexicon] = {}


def prepare(messages: Sequence[dict[str, Any]]) -> None:
    """Index a conversation."""
    lexicon = Lexicon()
    for at, message in enumerate(messages):
        moment = datetime.fromisoformat(message["time"]) if message["time"] else datetime(2000, 1, 1, tzinfo=UTC)
        text = message["text"] + (f" [image: {message['caption']}]" if message.get("caption") else "")
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        lexicon.add(Document(at, message["speaker"], text, aware, message["tokens"]))
    _indexed[id(messages)] = lexicon


def select(messages: Sequence[dict[str, Any]], query: str, budget_tokens: float) -> list[str]:
    """Return the ids of the messages that are picked, best first."""
    if id(messages) not in _indexed:
        prepare(messages)
    lexicon = _indexed[id(messages)]
    chosen = best(lexicon.documents, lexicon.scores(query), budget_tokens=int(budget_tokens), without=lambda _at: False)
    return [messages[at]["id"] for at, _ in chosen]


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


def run(path: Path) -> str:
    """Return the figures as Markdown."""
    conversations = json.loads(path.read_text("utf-8"))["conversations"]
    rows: list[str] = []
    for budget in BUDGETS:
        hits: list[bool] = []
        taken: list[float] = []
        for conversation in conversations:
            messages = conversation["messages"]
            prepare(messages)
            for query, evidence in _questions(conversation):
                begun = time.perf_counter()
                chosen = set(select(messages, query, budget))
                taken.append(1000 * (time.perf_counter() - begun))
                hits.append(chosen.issuperset(evidence))
        share = statistics.mean(hits)
        rows.append(f"| {budget:,} | {share:.1%} | ≥ {ASKED[budget]} % | {statistics.median(taken):.2f} |")
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
        "| tokens | all evidence picked | asked, without a model | ms a question |\n| --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n\n| an extract of | evidence messages in it | asked |\n| --- | --- | --- |\n"
        + "\n".join(extracts)
        + "\n"
    )
