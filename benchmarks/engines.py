"""Every server engine beside the floor and its peers, on one server in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from benchmarks import large
from benchmarks.bars import ENGINE_BARS, judged
from benchmarks.compare import LISTED, READ, Comparison, Results, fixed_disk
from benchmarks.report import calls_table, crowds_table, failures, table
from benchmarks.servers import PRODUCTS, SERVERS
from benchmarks.sides import ENGINES

Engine = Literal["PostgreSQL", "Redis", "MongoDB", "DynamoDB"]
_APPENDED = (50, 5_000)
_FREE, _COSTLY = (0, 1), (1_000, 1)


def measure(engine: str, only: Sequence[str], rounds: int) -> Results:
    """Compare the sides of an engine whose names contain one of `only`, or all."""
    names = [name for name in ENGINES[engine] if not only or any(part in name for part in only)]
    with fixed_disk() as (folder, library):
        serving = SERVERS[engine](library)
        comparison = Comparison(engine, names, rounds, folder, library, serving)
        comparison.calls()
        comparison.crowds([_FREE, _COSTLY] if engine == "PostgreSQL" else [_FREE])
    return comparison.results


def document(engine: str, results: Results) -> str:
    """Return the part of docs/performance.md about an engine."""
    bars = judged(results, ENGINE_BARS.get(engine, ENGINE_BARS["others"]))
    heads = [
        *((f"append {count}", f"append a turn to {count:,}") for count in _APPENDED),
        *((f"read {count}", f"last 20 of {count:,}") for count in READ),
        *((f"list {count}", f"50 of {count:,} sessions") for count in LISTED[1:]),
    ]
    parts = [
        f"## {engine}\n",
        f"On {PRODUCTS[engine]}.\n",
        table(["what", "asked", "measured", "met"], bars),
        calls_table(results, heads),
        "### 100 sessions at once, syncs free\n",
        crowds_table(results, "crowd 1 0"),
    ]
    if any(found.get("crowd 1 1000") for found in results.values()):
        parts += ["### The same, a sync takes 1 ms\n", crowds_table(results, "crowd 1 1000")]
    return "\n".join([*parts, *failures(results)])


_LARGE = {"PostgreSQL": (1_000_000, 100_000), "Redis": (1_000_000, 100_000)}
_LARGE_ON_EMULATORS = (50_000, 5_000)


def large_on(engine: str) -> str:
    """Measure a very long session and very many; fewer on an emulator, which keeps all in a small memory."""
    with fixed_disk() as (_, library), SERVERS[engine](library)(0) as server:
        if server is None:
            raise AssertionError("these engines have servers")
        return large.run_on(server.place("large"), *_LARGE.get(engine, _LARGE_ON_EMULATORS))


def run(engines: Sequence[str], only: Sequence[str], rounds: int) -> str:
    """Measure the engines, or all, and return the part of docs/performance.md about them."""
    parts: list[str] = []
    for engine in engines or SERVERS:
        parts += [document(engine, measure(engine, only, rounds)), large_on(engine)]
    return "\n".join(parts)
