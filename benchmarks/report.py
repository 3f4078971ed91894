"""Results as a document: a table for each kind of work, and every bar with what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.bars import BARS, judged, value
from benchmarks.compare import (
    APPENDED,
    CROWD,
    CROWD_TURNS,
    LISTED,
    LONG,
    PROCESSES,
    READ,
    WRITER_TURNS,
    WRITERS,
    Results,
)

Row = Sequence[object]


def table(head: Row, rows: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def calls_table(results: Results, heads: Sequence[tuple[str, str]]) -> str:
    """Return a table of medians, a column for each kind of call."""
    rows = [
        [name, *(_shown(value(results, name, what)) for what, _ in heads)]
        for name in results
        if any(results[name].get(what) for what, _ in heads)
    ]
    return table(["µs, median", *(head for _, head in heads)], rows)


def crowds_table(results: Results, what: str) -> str:
    """Return a table of what each side did when many sessions went on at once."""
    rows: list[Row] = []
    for name in results:
        found = results[name].get(what)
        if found:
            errors = sum(count for part in found for _, count in part["errors"])
            wrong = sum(part["wrong"] for part in found)
            cpu = statistics.median(part["cpu_us"] for part in found)
            rows.append([name, _shown(value(results, name, what)), _shown(cpu), errors, wrong])
    return table(["side", "turns/s", "CPU µs a turn", "failed turns", "sessions with lost or misplaced messages"], rows)


def _shared(results: Results, what: str) -> str:
    names = ["acknowledged", "lost", "doubled", "split", "reordered", "changed", "reads"]
    rows = [
        [name, *(results[name][what][key] for key in names), _errors(results[name][what])]
        for name in results
        if results[name].get(what)
    ]
    head = [
        "side",
        "turns acknowledged",
        "messages lost",
        "doubled",
        "turns split",
        "reordered",
        "reads that saw the past change",
        "of reads",
        "errors",
    ]
    return table(head, rows)


def _errors(found: dict[str, Any]) -> str:
    return "; ".join(f"{count} times {error[:60]}" for error, count in found["errors"])


def document(results: Results) -> str:
    """Return the part of docs/performance.md that compares."""
    parts = [
        "## Bars\n",
        table(["what", "asked", "measured", "met"], judged(results, BARS)),
        "## One caller, syncs that cost nothing\n",
        "### Append a turn to a session of so many messages\n",
        calls_table(results, [(f"append {count}", f"{count:,}") for count in APPENDED]),
        "### Read\n",
        calls_table(
            results,
            [
                *((f"read {count}", f"last 20 of {count:,}") for count in READ),
                ("read all", f"all of {LONG:,}"),
                ("hop", "a hop"),
            ],
        ),
        "### List 50 of a user's sessions\n",
        calls_table(results, [(f"list {count}", f"{count:,}") for count in LISTED]),
        f"## {CROWD} sessions at once, {CROWD_TURNS} turns each\n",
    ]
    for what, words in (
        ("crowd 1 0", "One process, syncs free"),
        ("crowd 1 1000", "One process, a sync takes 1 ms"),
        (f"crowd {PROCESSES} 1000", f"{PROCESSES} processes on one database, a sync takes 1 ms"),
    ):
        parts += [f"### {words}\n", crowds_table(results, what)]
    parts += [f"## {WRITERS} writers of one session, {WRITER_TURNS} turns each\n"]
    for count in (1, PROCESSES):
        parts += [f"### {count} process{'es' if count > 1 else ''}\n", _shared(results, f"shared {count}")]
    sizes: list[Row] = [
        [
            name,
            _shown((found.get("size") or {}).get("bytes")),
            f"{found['open']['seconds']:.2f}" if found.get("open") else "",
            _shown(found["open"]["mib"] if found.get("open") else None),
        ]
        for name, found in results.items()
    ]
    parts += ["## Size\n", table(["side", "bytes a message", "import and open, s", "memory after it, MiB"], sizes)]
    return "\n".join([*parts, *failures(results)])


def failures(results: Results) -> list[str]:
    """Return what could not be measured, as a part of a document; nothing if all could."""
    told = [f"- {name}: {failure}" for name, found in results.items() for failure in found.get("failures", ())]
    return ["### What could not be measured\n", "\n".join(told) + "\n"] if told else []
