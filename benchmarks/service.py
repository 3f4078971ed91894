"""The service over HTTP: appends and reads beside a route that does nothing, and a hundred chats at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import table
from benchmarks.workload import turn

SECONDS = 3.0
ROUNDS = 5
CONNECTIONS = 16
CHATS = 100
HISTORY_TURNS = 25
WORDS_PER_SECOND = 40
APP = "/v1/apps/default"
_NOTHING = """
import sys
import uvicorn
from fastapi import FastAPI
from chatkeep.api.serving import listen
app = FastAPI()
@app.get("/nothing")
async def nothing() -> dict[str, str]:
    return {"status": "ok"}
config = uvicorn.Config(app, access_log=False, log_config=None)
uvicorn.Server(config).run(sockets=[listen("127.0.0.1", int(sys.argv[1]))])
"""


class Connection:
    """A connection that is kept open, with just enough of HTTP for one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, method: str, path: str, body: object = None) -> bytes:
        """Return the body of the answer, which must be a success."""
        content = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not answer.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer.decode()}")
        if b"transfer-encoding: chunked" in answer:
            return await self._chunks()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def _chunks(self) -> bytes:
        found = b""
        while size := int(await self._reader.readline(), 16):
            found += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return found

    def close(self) -> None:
        self._writer.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: Sequence[str], port: int, **environment: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, *command], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        try:
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextmanager
def _chatkeep(folder: Path, words_per_second: int) -> Iterator[int]:
    port = free_port()
    settings = {
        "CHATKEEP_STORE_URL": f"sqlite:///{folder}/chats.db",
        "CHATKEEP_MODEL": "echo",
        "CHATKEEP_ECHO_WORDS_PER_SECOND": str(words_per_second),
    }
    with _process(["-m", "chatkeep", "serve", "--port", str(port)], port, **settings):
        yield port


async def _load(port: int, kind: str) -> tuple[float, list[float]]:
    """Ask over all connections for some seconds; return requests a second, and milliseconds each."""
    taken: list[float] = []
    question, answer = turn("load")
    said = [
        {"role": role, "parts": [{"type": "text", "text": text}]}
        for role, text in (("user", question), ("assistant", answer))
    ]
    until = time.perf_counter() + SECONDS

    async def one(at: int) -> None:
        connection = Connection(port)
        await connection.open()
        path = f"{APP}/sessions/load{at}/messages"
        requests: dict[str, tuple[str, str, Any]] = {
            "nothing": ("GET", "/nothing", None),
            "append": ("POST", path, {"messages": said}),
            "read": ("GET", f"{path}?limit=20", None),
        }
        if kind != "nothing":
            await connection.ask("PUT", f"{APP}/sessions/load{at}", {})
        while time.perf_counter() < until:
            begun = time.perf_counter()
            await connection.ask(*requests[kind])
            taken.append(1_000 * (time.perf_counter() - begun))
        connection.close()

    await asyncio.gather(*(one(at) for at in range(CONNECTIONS)))
    return len(taken) / SECONDS, taken


def _percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def _loads(port: int, nothing: int) -> str:
    rates: dict[str, list[float]] = {kind: [] for kind in ("nothing", "append", "read")}
    times: dict[str, list[float]] = {kind: [] for kind in rates}
    await _load(port, "append")
    for _ in range(ROUNDS):
        for kind, found in rates.items():
            rate, taken = await _load(nothing if kind == "nothing" else port, kind)
            found.append(rate)
            times[kind] += taken
    least = statistics.median(rates["nothing"])
    words = {"nothing": "a route that does nothing", "append": "append a turn", "read": "read the last 20"}
    rows = []
    for kind, found in rates.items():
        rate = statistics.median(found)
        p50, p99 = (f"{_percentile(times[kind], part):.1f}" for part in (0.5, 0.99))
        rows.append([words[kind], f"{rate:,.0f}", p50, p99, f"{rate / least:.0%}"])
    return table(["one worker, 16 connections", "requests/s", "p50 ms", "p99 ms", "of nothing"], rows)


async def _chats(port: int) -> str:
    """Begin 100 chats at once on sessions of 50 messages, and read histories meanwhile."""
    prepare = Connection(port)
    await prepare.open()
    for at in range(CHATS):
        said = [
            {"role": role, "parts": [{"type": "text", "text": text}]}
            for number in range(HISTORY_TURNS)
            for role, text in zip(("user", "assistant"), turn(f"{at}.{number}"), strict=True)
        ]
        await prepare.ask("PUT", f"{APP}/sessions/chat{at}", {})
        await prepare.ask("POST", f"{APP}/sessions/chat{at}/messages", {"messages": said})
    question = " ".join(f"word{at}" for at in range(30))
    histories: list[float] = []
    going = True

    async def look() -> None:
        at = 0
        while going:
            begun = time.perf_counter()
            await prepare.ask("GET", f"{APP}/sessions/chat{at % CHATS}/messages?limit=20")
            histories.append(1_000 * (time.perf_counter() - begun))
            at += 1
            await asyncio.sleep(0.01)

    async def chat(at: int) -> float:
        connection = Connection(port)
        await connection.open()
        begun = time.perf_counter()
        body = {"message": question, "stream": False}
        answer = json.loads(await connection.ask("POST", f"{APP}/sessions/chat{at}/chat", body))
        seconds = time.perf_counter() - begun
        connection.close()
        return seconds - len(answer["answer"].split()) / WORDS_PER_SECOND

    looking = asyncio.create_task(look())
    beyond = await asyncio.gather(*(chat(at) for at in range(CHATS)))
    going = False
    await looking
    prepare.close()
    rows = [
        ["100 chats at once: the slowest, beyond the model's time", "< 3 s", f"{max(beyond):.2f} s"],
        ["the median of them", "", f"{statistics.median(beyond):.2f} s"],
        ["a history of 20 meanwhile, p99", "< 100 ms", f"{_percentile(histories, 0.99):.0f} ms"],
        ["its median", "", f"{statistics.median(histories):.1f} ms"],
    ]
    return table(["sessions of 50 messages, an answer takes the model 0.9 s", "asked", "measured"], rows)


def run() -> str:
    """Measure, and return the part of docs/performance.md about the service."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        port = free_port()
        with _chatkeep(Path(made), 0) as ours, _process(["-c", _NOTHING, str(port)], port) as nothing:
            loads = asyncio.run(_loads(ours, nothing))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made, _chatkeep(Path(made), WORDS_PER_SECOND) as ours:
        chats = asyncio.run(_chats(ours))
    return f"## HTTP\n\n{loads}\n{chats}"
