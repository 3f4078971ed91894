"""`python -m benchmarks NAME …`: one measurement or run on real input."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from benchmarks import conversations, store


def main() -> int:
    """Run what the command line names; without a name, the figures of the SQLite store."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name")
    figures = commands.add_parser("store", help="time the SQLite store beside the least code that does the same")
    figures.add_argument("--folder", type=Path, help="where the files lie; a temporary folder by default")
    figures.add_argument("--rounds", type=int, default=7, help="how often each side is measured, in turns")
    real = commands.add_parser("conversations", help="import, search, export and replay real conversations")
    real.add_argument("path", type=Path, help="a file like LoCoMo's: conversations of speakers and messages")
    real.add_argument("--replay", type=int, default=0, help="the conversation to replay through chat, by its place")
    given = parser.parse_args(sys.argv[1:] or ["store"])
    if given.name == "conversations":
        return conversations.run(given.path, given.replay)
    return asyncio.run(store.run(given.folder, given.rounds))


if __name__ == "__main__":
    sys.exit(main())
