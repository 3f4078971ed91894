"""Real conversations, end to end: import, list, read back, search, export, import again, replay through chat.

The data's path is an argument, because its licence does not allow a copy here. Every step checks its result and stops
with a sentence where it does not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from chatkeep import Chatkeep, Chats, Message
from chatkeep.domain.search import words

READY_SECONDS = 20


def lines_of(conversation: dict[str, Any]) -> Iterator[str]:
    """Yield one conversation as JSON Lines: its first speaker is the user, the other one the assistant."""
    session_id = conversation["id"]
    first, second = conversation["speakers"]
    messages = conversation["messages"]
    yield json.dumps(
        {
            "kind": "session",
            "version": 1,
            "id": session_id,
            "title": f"{first} and {second}",
            "title_source": "user",
            "state": "active",
            "created_at": messages[0]["time"] + ":00Z",
            "modified_at": messages[-1]["time"] + ":00Z",
            "metadata": {"speakers": [first, second]},
        }
    )
    for seq, message in enumerate(messages, 1):
        yield json.dumps(
            {
                "kind": "message",
                "session_id": session_id,
                "seq": seq,
                "parent_seq": seq - 1,
                "role": "user" if message["speaker"] == first else "assistant",
                "status": "complete",
                "created_at": message["time"] + ":00Z",
                "parts": [{"type": "text", "text": message["text"]}],
                "metadata": {"id": message["id"]},
            }
        )


def check(what: str, *, holds: bool) -> None:
    """Say that a step holds, or stop."""
    if not holds:
        sys.exit(f"FAILED: {what}")
    print(f"ok   {what}")


def run(path: Path, replay: int) -> int:
    """Take all steps on the conversations in `path`; return 0, or stop at the first that fails."""
    conversations = json.loads(path.read_text("utf-8"))["conversations"]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_keep(Path(folder), conversations))
        _replay(Path(folder), conversations[replay])
    return 0


async def _keep(folder: Path, conversations: list[dict[str, Any]]) -> None:
    lines = [line for conversation in conversations for line in lines_of(conversation)]
    count = sum(len(conversation["messages"]) for conversation in conversations)
    async with Chatkeep.open(f"sqlite:///{folder}/first.db") as keep:
        chats = keep.for_user("reader")
        begun = time.perf_counter()
        report = await chats.import_lines(lines)
        seconds = time.perf_counter() - begun
        check(f"imported {len(conversations)} sessions, {count} messages in {seconds:.2f} s", holds=report.changed)
        await _read_back(chats, conversations)
        await _search(chats, conversations)
        again = await chats.import_lines(lines)
        check("a second import changes nothing", holds=not again.changed)
        exported = [line async for line in chats.export()]
        own = await chats.import_lines(exported)
        check("importing the export into its own store changes nothing", holds=not own.changed)
    async with Chatkeep.open(f"sqlite:///{folder}/second.db") as keep:
        chats = keep.for_user("reader")
        await chats.import_lines(exported)
        await _read_back(chats, conversations)
        once_more = [line async for line in chats.export()]
        same = sorted(map(_without_id, once_more)) == sorted(map(_without_id, exported))
        check("the export of an import of the export is the same", holds=same)


def _without_id(line: str) -> str:
    record = json.loads(line)
    if record["kind"] == "message":
        del record["id"]
    return json.dumps(record, sort_keys=True)


async def _read_back(chats: Chats, conversations: list[dict[str, Any]]) -> None:
    listed = (await chats.list(limit=200)).items
    newest_first = sorted(conversations, key=lambda c: (c["messages"][-1]["time"], c["id"]), reverse=True)
    check("listed by last activity", holds=[s.id for s in listed] == [c["id"] for c in newest_first])
    for conversation in conversations:
        stored = await chats.messages(conversation["id"])
        expected = [(m["text"], m["time"], m["id"]) for m in conversation["messages"]]
        found = [
            (m.text, m.created_at.strftime("%Y-%m-%dT%H:%M"), m.metadata["id"])
            for m in stored
            if isinstance(m, Message)
        ]
        check(f"{conversation['id']}: {len(expected)} messages read back equal", holds=found == expected)


async def _search(chats: Chats, conversations: list[dict[str, Any]]) -> None:
    waits: list[float] = []
    for conversation in conversations:
        for message in conversation["messages"][::97]:
            wanted = words(message["text"])[:6]
            if len(wanted) < 3:  # noqa: PLR2004 -- too common to look for
                continue
            seen: list[tuple[str, int | None]] = []
            after = None
            begun = time.perf_counter()
            while True:
                page = await chats.search(" ".join(wanted), limit=100, after=after)
                seen += [(hit.session.id, hit.seq) for hit in page.items]
                after = page.next
                if after is None:
                    break
            waits.append(time.perf_counter() - begun)
            seq = conversation["messages"].index(message) + 1
            if (conversation["id"], seq) not in seen:
                sys.exit(f"FAILED: search for {wanted} does not find {conversation['id']} {seq}")
    waits.sort()
    check(f"{len(waits)} searches find their message; median {waits[len(waits) // 2] * 1000:.1f} ms", holds=bool(waits))


def _replay(folder: Path, conversation: dict[str, Any]) -> None:
    environment = {
        **os.environ,
        "CHATKEEP_STORE_URL": f"sqlite:///{folder}/replay.db",
        "CHATKEEP_MODEL": "echo",
        "CHATKEEP_ECHO_WORDS_PER_SECOND": "0",
        "CHATKEEP_PORT": str(_free_port()),
    }
    url = f"http://127.0.0.1:{environment['CHATKEEP_PORT']}"
    with subprocess.Popen([sys.executable, "-m", "chatkeep", "serve"], env=environment) as server:
        try:
            _chat_through(url, conversation)
        finally:
            server.terminate()


def _chat_through(url: str, conversation: dict[str, Any]) -> None:
    texts = [message["text"] for message in conversation["messages"]]
    base = f"{url}/v1/apps/default"
    with httpx.Client(timeout=30) as client:
        _wait_until_ready(client, url)
        begun = time.perf_counter()
        for at, text in enumerate(texts):
            answer = client.post(
                f"{base}/sessions/replay/chat",
                json={"message": text, "stream": False},
                headers={"Idempotency-Key": f"replay-{at}"},
            )
            if answer.status_code != httpx.codes.OK:
                sys.exit(f"FAILED: chat answered {answer.status_code}: {answer.text}")
        seconds = time.perf_counter() - begun
        found: list[str] = []
        while True:
            page = client.get(
                f"{base}/sessions/replay/messages", params={"after_seq": len(found), "order": "asc", "limit": 200}
            ).json()
            if not page["items"]:
                break
            found += [message["parts"][0]["text"] if message["role"] == "user" else "" for message in page["items"]]
    check(
        f"{len(texts)} messages replayed over HTTP in {seconds:.1f} s, every question kept in order",
        holds=[text for text in found if text] == texts and len(found) == 2 * len(texts),
    )


def _wait_until_ready(client: httpx.Client, url: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            if client.get(f"{url}/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    sys.exit("FAILED: the server did not become ready")


def _free_port() -> int:
    import socket  # noqa: PLC0415 -- needed here only

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
