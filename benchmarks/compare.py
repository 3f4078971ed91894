"""Every side through one workload in one run: visited in turn, round after round, so that noise hits all alike."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.sides import ENGINES, FLOOR, SIDES, SQLITE

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".tools/peers/bin/python"
APPENDED = (0, 50, 5_000)
READ = (50, 5_000)
LISTED = (10, 1_000, 10_000)
LONG = 1_000
CROWD, CROWD_TURNS = 100, 20
WRITERS, WRITER_TURNS = 20, 10
PROCESSES = 4
_LISTING = ("Chatkeep", "floor", "Google")
BLOCK_SECONDS = 0.25
BLOCK_MOST = 200

Results = dict[str, dict[str, Any]]


class Failed(Exception):
    """A side could not do what it was asked to do."""


class Process:
    """A side at work."""

    def __init__(self, engine: str, name: str, folder: Path, place: str, *, sync_us: int, library: Path) -> None:
        own = ENGINES[engine][name].own
        environment = os.environ | {
            "LD_PRELOAD": str(library),
            "BENCH_SYNC_US": str(sync_us),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")] if own else [str(ROOT)]),
            "PYTHONWARNINGS": "ignore",
            "AGNO_TELEMETRY": "false",
        }
        self._log = (folder / f"{_file_name(name)}.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable if own else str(PEERS), "-m", "benchmarks.worker", engine, name, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=folder,
        )

    def ask(self, do: str, **what: object) -> None:
        """Begin with a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return what became of the request. Raises Failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": f"the process ended, see {self._log.name}"}
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["done"]

    def __call__(self, do: str, **what: object) -> Any:
        """Do one request."""
        self.ask(do, **what)
        return self.answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()


@contextmanager
def fixed_disk() -> Iterator[tuple[Path, Path]]:
    """Give a folder in memory and the library that gives every sync a fixed cost."""
    memory = Path("/dev/shm")  # noqa: S108 -- a folder of one's own is made in it
    compiler = shutil.which("cc")
    if compiler is None or not memory.is_dir():
        raise SystemExit("the comparison needs a C compiler (`cc`) and /dev/shm, to give every sync the same cost")
    with tempfile.TemporaryDirectory(dir=memory, prefix="chatkeep-bench-") as made:
        library = Path(made, "disk.so")
        source = ROOT / "benchmarks/disk.c"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        yield Path(made), library


class Server(Protocol):
    """A database server that a part of a run has for itself."""

    def place(self, side: str) -> str:
        """Return the URL of an empty database for a side."""


@contextmanager
def _no_server(_sync_us: int) -> Iterator[None]:
    yield None


Serving = Callable[[int], AbstractContextManager[Server | None]]
"""Starts a server, whose syncs take so many microseconds, and stops it."""


class Comparison:
    """A run: the sides, and what was measured of each. Without a server each side has a file."""

    def __init__(
        self,
        engine: str,
        names: Sequence[str],
        rounds: int,
        folder: Path,
        library: Path,
        serving: Serving = _no_server,
    ) -> None:
        self.names = list(names)
        self.results: Results = {name: defaultdict(list) for name in names}
        self._engine = engine
        self._rounds = rounds
        self._folder = folder
        self._library = library
        self._serving = serving

    def _tell(self, *words: object) -> None:
        print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)

    def _fail(self, name: str, what: str, error: Failed) -> None:
        self._tell("FAILED", name, what, error)
        self.results[name]["failures"].append(f"{what}: {error}")

    @contextmanager
    def _running(self, sync_us: int, part: str, count: int = 1) -> Iterator[dict[str, list[Process]]]:
        """Start `count` processes of each side on one database."""
        folder = self._folder / part
        folder.mkdir()
        with ExitStack() as stack:
            server = stack.enter_context(self._serving(sync_us))
            running: dict[str, list[Process]] = {}
            for name in self.names:
                place = str(folder / f"{_file_name(name)}.db") if server is None else server.place(_file_name(name))
                for _ in range(count):
                    process = Process(self._engine, name, folder, place, sync_us=sync_us, library=self._library)
                    stack.callback(process.end)
                    try:
                        opened = process("open")
                    except Failed as error:
                        self._fail(name, "open", error)
                        break
                    self.results[name].setdefault("open", opened)
                    running.setdefault(name, []).append(process)
            yield {name: processes for name, processes in running.items() if len(processes) == count}
        shutil.rmtree(folder)

    def calls(self) -> None:
        """Time appends, reads and lists, one caller, syncs that cost nothing."""
        with self._running(0, "calls") as running:
            sides = {name: process for name, (process,) in running.items()}
            for name, process in sides.items():
                self._seed(name, process)
            self._tell("seeded")
            for number in range(self._rounds):
                for turns in APPENDED:
                    self._visit(sides, f"append {turns}", "append", session=f"n{turns}" if turns else "")
                for messages in READ:
                    self._visit(sides, f"read {messages}", "newest", session=f"r{messages}")
                self._visit(sides, "read all", "everything", session="long", count=LONG)
                listing = {name: side for name, side in sides.items() if self._has_lists(name)}
                for count in LISTED:
                    self._visit(listing, f"list {count}", "recent", user=f"user{count}", count=min(50, count))
                if FLOOR in sides and self._engine == SQLITE:
                    self._visit({FLOOR: sides[FLOOR]}, "hop", "hop")
                self._tell("calls, round", number + 1, "of", self._rounds)

    def _seed(self, name: str, process: Process) -> None:
        try:
            for messages in sorted({*APPENDED, *READ} - {0}):
                process("seed", session=f"n{messages}", turns=messages // 2)
                process("seed", session=f"r{messages}", turns=messages // 2)
            process("seed", session="long", turns=LONG // 2)
            for count in LISTED if self._has_lists(name) else ():
                process("seed_list", user=f"user{count}", count=count)
        except Failed as error:
            self._fail(name, "seed", error)

    def _visit(self, sides: dict[str, Process], what: str, do: str, **named: object) -> None:
        for name, process in sides.items():
            try:
                taken = process(do, seconds=BLOCK_SECONDS, most=BLOCK_MOST, **named)["us"]
            except Failed as error:
                self._fail(name, what, error)
            else:
                self.results[name][what].append(statistics.median(taken))

    def _has_lists(self, name: str) -> bool:
        return name.startswith(_LISTING) and self._engine != "DynamoDB"

    def crowds(self, kinds: Sequence[tuple[int, int]] = ((0, 1), (1_000, 1), (1_000, PROCESSES))) -> None:
        """100 sessions at once, 20 turns each: with free and with costly syncs, from one process and from several."""
        for sync_us, processes in kinds:
            what = f"crowd {processes} {sync_us}"
            with self._running(sync_us, what, processes) as running:
                for number in range(max(2, self._rounds // 2)):
                    for name, group in running.items():
                        self._crowd(name, group, what, number)
                    self._tell(what, number + 1)

    def _crowd(self, name: str, group: list[Process], what: str, number: int) -> None:
        share = CROWD // len(group)
        start = time.time() + 0.2
        try:
            for at, process in enumerate(group):
                turns = {"prefix": f"c{number}", "first": at * share, "last": (at + 1) * share, "turns": CROWD_TURNS}
                process.ask("crowd", **turns, start=start)
            parts = [process.answer() for process in group]
        except Failed as error:
            self._fail(name, what, error)
            return
        self.results[name][what].append(
            {
                "rate": sum(part["turns"] for part in parts) / max(part["seconds"] for part in parts),
                "cpu_us": 1e6 * sum(part["cpu"] for part in parts) / max(1, sum(part["turns"] for part in parts)),
                "errors": [error for part in parts for error in part["errors"].items()],
                "stale": sum(part["stale"] for part in parts),
                "wrong": sum(part["wrong"] for part in parts),
            }
        )

    def shared(self) -> None:
        """20 writers of one session, from one process and from four."""
        for processes in (1, PROCESSES):
            what = f"shared {processes}"
            with self._running(0, what, processes) as running:
                for name, group in running.items():
                    self._share(name, group, what)

    def _share(self, name: str, group: list[Process], what: str) -> None:
        each = WRITERS // len(group)
        start = time.time() + 0.2
        try:
            for at, process in enumerate(group):
                turns = {"session": "shared", "first": at * each, "last": (at + 1) * each, "turns": WRITER_TURNS}
                process.ask("share", **turns, start=start)
            parts = [process.answer() for process in group]
            acknowledged = [mark for part in parts for mark in part["acknowledged"]]
            looked = group[0]("look", session="shared", acknowledged=acknowledged)
        except Failed as error:
            self._fail(name, what, error)
            return
        self.results[name][what] = {
            **looked,
            "acknowledged": len(acknowledged),
            "errors": [error for part in parts for error in part["errors"].items()],
            "changed": sum(part["changed"] for part in parts),
            "reads": sum(part["reads"] for part in parts),
        }

    def sizes(self) -> None:
        """What a message takes on the disk."""
        with self._running(0, "sizes") as running:
            for name, (process,) in running.items():
                try:
                    self.results[name]["size"] = process("fill", sessions=20, turns=50)
                except Failed as error:
                    self._fail(name, "size", error)


def _file_name(side: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in side.lower())


def run(only: Sequence[str], rounds: int, parts: Sequence[str]) -> Results:
    """Compare the sides whose names contain one of `only`, or all, in these parts, or all; return what was measured."""
    names = [name for name in SIDES if not only or any(part in name for part in only)]
    if not all(SIDES[name].own for name in names) and not PEERS.exists():
        raise SystemExit("the peers are not installed; run `make peers`, or give --only Chatkeep floor")
    with fixed_disk() as (folder, library):
        comparison = Comparison(SQLITE, names, rounds, folder, library)
        for part in ("calls", "crowds", "shared", "sizes"):
            if not parts or part in parts:
                getattr(comparison, part)()
    return comparison.results
