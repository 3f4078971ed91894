"""`python -m benchmarks`: figures, side by side; `python -m benchmarks --help` lists the parts."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from benchmarks import (
    compare,
    context_cost,
    context_evidence,
    context_time,
    conversations,
    counting,
    engines,
    large,
    page,
    report,
    service,
)
from benchmarks.servers import SERVERS

DOCUMENT = compare.ROOT / "docs/performance.md"
CONTEXT_DOCUMENT = compare.ROOT / "docs/context-figures.md"
ENGINES_DOCUMENT = compare.ROOT / "docs/performance-engines.md"
_ABOUT_ENGINES = """# Performance of the server engines

Written by `make bench` or `python -m benchmarks engines` on {day}: {cpus} processors, Python {python}; server and
clients share them. Every side does the same work on the same server in the same run, visited in turn; figures are
medians. What a turn is and what the shim does stands in [Performance](performance.md). The floor is the least code that
does the work on the same driver: it checks nothing, and a repeat doubles a message. How each side is driven:
[sides](../benchmarks/sides).

"""
_ABOUT_CONTEXTS = """# Figures of the context engine

Written by `python -m benchmarks context` on {day}: {cpus} processors, Python {python}. [Context](context.md) says what
is measured. A part whose data or tokenizer is not there is left out.

"""
_ABOUT = """# Performance

Written by `make bench` (`python -m benchmarks {arguments}`) on {day}: {cpus} processors, Python {python}. Every side
does the same work in the same run, visited in turn, round after round; figures are medians of the rounds. A turn is a
question of 200 and an answer of 800 characters. Databases lie in memory, and a sync costs a fixed time, so that the
disk of the day plays no part; all sides keep their own durability, which for most peers is less than Chatkeep's (a
commit is on the disk before it is acknowledged). The floor is the least code that does the work on Chatkeep's driver
with group commit; it checks nothing, and a repeat doubles a message. How each side is driven:
[sides](../benchmarks/sides). Other things that run at the same time change the figures; the ratios of one run are
what to look at.

"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name")
    everything = commands.add_parser("all", help="all of the figures below, into docs/performance.md")
    sides = commands.add_parser("compare", help="Chatkeep, the floor and other libraries on one workload")
    for each in (everything, sides):
        each.add_argument("--rounds", type=int, default=5, help="how often every side is visited (5)")
        each.add_argument(
            "--only", nargs="*", default=[], metavar="PART", help="sides whose name contains one of these"
        )
    sides.add_argument("--parts", nargs="*", default=[], choices=["calls", "crowds", "shared", "sizes"])
    sides.add_argument("--json", type=Path, help="where to put the raw results")
    servers = commands.add_parser(
        "engines", help="each server engine beside the floor and its peers, into docs/performance-engines.md"
    )
    servers.add_argument(
        "names", nargs="*", metavar="ENGINE", help=f"some of {', '.join(SERVERS)}; all if none is named"
    )
    servers.add_argument("--rounds", type=int, default=5, help="how often every side is visited (5)")
    servers.add_argument("--only", nargs="*", default=[], metavar="PART", help="parts of the names of sides")
    commands.add_parser("service", help="the service over HTTP")
    commands.add_parser("page", help="the page in Chromium: many chats, and typing under a stream")
    much = commands.add_parser("large", help="a very long session, and very many")
    for each in (everything, much):
        each.add_argument("--messages", type=int, default=1_000_000)
        each.add_argument("--sessions", type=int, default=100_000)
    real = commands.add_parser("conversations", help="import, search, export and replay real conversations")
    real.add_argument("path", type=Path, help="a file like LoCoMo's: conversations of speakers and messages")
    real.add_argument("--replay", type=int, default=0, help="the conversation to replay through chat, by its place")
    chosen = commands.add_parser("context", help="what contexts cost, take and find, into docs/context-figures.md")
    chosen.add_argument("--evidence", type=Path, help="a file like LoCoMo's, with questions and their evidence")
    chosen.add_argument("--seeds", type=int, default=context_cost.SEEDS, help="conversations of each length (5)")
    return parser.parse_args(sys.argv[1:] or ["all"])


def _contexts(evidence: Path | None, seeds: int) -> int:
    parts = [context_time.run(), context_cost.run(seeds)]
    if evidence is not None:
        parts.append(context_evidence.run(evidence))
    with contextlib.suppress(ModuleNotFoundError):
        parts.append(counting.run())
    about = _ABOUT_CONTEXTS.format(day=time.strftime("%Y-%m-%d"), cpus=os.cpu_count(), python=sys.version.split()[0])
    CONTEXT_DOCUMENT.write_text(about + "\n".join(parts), "utf-8")
    print(f"written to {CONTEXT_DOCUMENT}")
    return 0


def _write_engines(told: str) -> None:
    about = _ABOUT_ENGINES.format(day=time.strftime("%Y-%m-%d"), cpus=os.cpu_count(), python=sys.version.split()[0])
    ENGINES_DOCUMENT.write_text(about + told, "utf-8")
    print(f"written to {ENGINES_DOCUMENT}")


def main() -> int:
    """Run what the command line names; without a name, everything."""
    given = _arguments()
    if given.name in ("all", "compare", "engines") and not compare.PEERS.exists():
        sys.exit("the libraries to compare with are not there: run `make peers` first")
    if given.name == "conversations":
        return conversations.run(given.path, given.replay)
    if given.name == "context":
        return _contexts(given.evidence, given.seeds)
    if given.name == "service":
        print(service.run())
    elif given.name == "page":
        print(page.run())
    elif given.name == "engines":
        _write_engines(engines.run(given.names, given.only, given.rounds))
    elif given.name == "large":
        print(large.run(given.messages, given.sessions))
    elif given.name == "compare":
        results = compare.run(given.only, given.rounds, given.parts)
        if given.json is not None:
            given.json.write_text(json.dumps(results), "utf-8")
        print(report.document(results))
    else:
        about = _ABOUT.format(
            arguments=" ".join(["all", *sys.argv[2:]]),
            day=time.strftime("%Y-%m-%d"),
            cpus=os.cpu_count(),
            python=sys.version.split()[0],
        )
        compared = report.document(compare.run(given.only, given.rounds, ()))
        _write_engines(engines.run((), given.only, given.rounds))
        parts = [compared, service.run(), page.run(), large.run(given.messages, given.sessions)]
        DOCUMENT.write_text(about + "\n".join(parts), "utf-8")
        print(f"written to {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
