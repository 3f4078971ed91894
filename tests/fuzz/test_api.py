"""The service is asked what its description allows, and what it does not, in whatever order.

Schemathesis makes requests from the OpenAPI document; bodies that no JSON library would write are made here. No answer
may be 500 or more, and each must be one that the document describes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from tests.faults.scale import scaled, tell
from tests.faults.web import APP, serving

_HERE = Path(__file__).parent
_DOCUMENT = _HERE.parents[1] / "docs/reference/openapi.json"
_ENDLESS = "/v1/apps/{app}/events"
_FAST = {"CHATKEEP_MODEL": "echo", "CHATKEEP_ECHO_WORDS_PER_SECOND": "0"}
RUNS = scaled(1, 3)
EXAMPLES = scaled(20, 160)
LEAST_REQUESTS = scaled(2_500, 20_000)
MIB = 1024 * 1024


def _schemathesis(document: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    executable = str(Path(sys.executable).with_name("schemathesis"))
    given = ["--exclude-path", _ENDLESS, "--url", url, "--request-timeout", "30", "--no-color", "--no-shrink"]
    return subprocess.run(
        [executable, "--config-file", str(_HERE / "schemathesis.toml"), "run", str(document), *given, *options],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(_HERE)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(scaled(300, 3_600))
def test_no_request_is_answered_with_a_fault_or_otherwise_than_described(tmp_path: Path) -> None:
    requests = 0
    with serving(tmp_path, _FAST) as (service,):
        for seed in range(RUNS):
            options = ("--max-examples", str(EXAMPLES), "--seed", str(seed + 1), "--continue-on-failure")
            done = _schemathesis(_DOCUMENT, service.url, *options)
            assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
            requests += int(re.findall(r"(\d+) generated", done.stdout)[-1])
    tell("requests of Schemathesis", requests=requests)

    assert requests >= LEAST_REQUESTS
    assert "Traceback" not in (tmp_path / "service.log").read_text("utf-8")


def test_an_answer_that_is_not_as_described_is_caught(tmp_path: Path) -> None:
    document = json.loads(_DOCUMENT.read_text("utf-8"))
    document["components"]["schemas"]["Session"]["properties"]["revision"] = {"type": "string"}
    other = tmp_path / "openapi.json"
    other.write_text(json.dumps(document), "utf-8")
    with serving(tmp_path, _FAST) as (service,):
        done = _schemathesis(other, service.url, "--max-examples", "5", "--include-operation-id", "ensureSession")

    assert done.returncode == 1
    assert "Response violates schema" in done.stdout


class Operation(NamedTuple):
    """An operation that takes a JSON body: where it is, an example of a body, and what it may answer."""

    method: str
    path: str
    example: Any
    answers: dict[str, Any]


def _operations(document: dict[str, Any]) -> Iterator[Operation]:
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            named = re.findall(r"#/components/schemas/(\w+)", json.dumps(content["schema"]))
            example: Any = next((schemas[name]["examples"][0] for name in named if "examples" in schemas[name]), {})
            yield Operation(method.upper(), path, example, operation["responses"])


_MARK = "⌖"
_TOKENS = {
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "huge float": b"1e999999",
    "huge integer": b"1" + b"0" * 5_000,
    "NUL": rb'"a\u0000b"',
    "half a surrogate pair": rb'"\ud83d"',
    "surrogates in the wrong order": rb'"\udca9\ud83d"',
    "raw control character": b'"a\x01b"',
    "invalid UTF-8": b'"\xff\xfe"',
    "encoded surrogate": b'"\xed\xa0\x80"',
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "many keys": b"{" + b",".join(b'"k%d":1' % at for at in range(20_000)) + b"}",
    "repeated key": b'{"a":1,"a":2}',
    "long text": b'"' + b"x" * (300 * 1024) + b'"',
}
_WHOLE = {
    "nothing": b"",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "cut off": b'{"title": "x',
    "two values": b"{} {}",
    "10 MB of text": b'{"message": "' + b"x" * (10 * MIB) + b'"}',
    "10 MB of spaces": b" " * (10 * MIB) + b"{}",
    "10 MB of brackets": b"[" * (10 * MIB),
}


def _marked(value: Any) -> Iterator[Any]:
    """Yield `value` once for each place in it, with a mark there."""
    yield _MARK
    if isinstance(value, dict):
        for name in value:
            yield from ({**value, name: inner} for inner in _marked(value[name]))
        yield {**value, "unknown": _MARK}
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from ([*value[:at], inner, *value[at + 1 :]] for inner in _marked(item))


def _bodies(example: Any) -> Iterator[tuple[str, bytes]]:
    for marked in _marked(example):
        text = json.dumps(marked, ensure_ascii=False).encode()
        yield from ((name, text.replace(f'"{_MARK}"'.encode(), token)) for name, token in _TOKENS.items())
    yield from _WHOLE.items()


async def _answer(port: int, operation: Operation, body: bytes) -> tuple[int, str, bytes]:
    """Return status, media type and body of an answer; the service may answer before it has read everything."""
    path = operation.path.replace("{app}", "default").replace("{session_id}", "s1").replace("{seq}", "1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{operation.method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
    finally:
        writer.transport.abort()
    top, _, content = answer.partition(b"\r\n\r\n")
    status, *headers = top.decode().split("\r\n")
    kinds = [line.partition(":")[2].strip() for line in headers if line.lower().startswith("content-type:")]
    return int(status.split(" ")[1]), kinds[0].partition(";")[0] if kinds else "", content


@pytest.mark.timeout(300)
async def test_no_hostile_body_is_a_fault_and_each_is_answered_as_described(tmp_path: Path) -> None:
    document = json.loads(_DOCUMENT.read_text("utf-8"))
    problem = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    )
    statuses: dict[int, int] = {}
    with serving(tmp_path, _FAST) as (service,):
        for operation in _operations(document):
            for name, body in _bodies(operation.example):
                status, kind, content = await _answer(service.port, operation, body)
                statuses[status] = statuses.get(status, 0) + 1
                said = f"{operation.method} {operation.path}, {name}: {status} {content[:300]!r}"
                assert status < 500, said
                assert str(status) in operation.answers, said
                if status >= 400:
                    assert kind == "application/problem+json", said
                    problem.validate(json.loads(content))
        assert (await _answer(service.port, Operation("GET", f"{APP}/sessions", None, {}), b""))[0] == 200
    tell("hostile bodies", answers=statuses)

    assert {200, 201, 413, 422} <= statuses.keys()
    assert "Traceback" not in (tmp_path / "service.log").read_text("utf-8")
