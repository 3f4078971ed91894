"""What holds for every command: start, errors, pipes, several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


COMMAND = (sys.executable, "-m", "chatkeep")


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *args], capture_output=True, timeout=60, check=False, env=env)


def test_help_needs_no_engine_no_model_and_no_server() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom chatkeep.cli.program import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\nprint(*sys.modules)"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split()

    heavy = {"apsw", "fastapi", "starlette", "uvicorn", "httpx", "openai", "anthropic", "ollama", "aiobotocore"}
    heavy |= {"rich", "pydantic_settings", "chatkeep.settings", "chatkeep.stores.sqlite", "chatkeep.models.choose"}
    assert heavy & set(loaded) == set()


def test_without_the_extra_one_line_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['typer'] = None\nimport runpy\nsys.argv = ['chatkeep']\n"
        "runpy.run_module('chatkeep', run_name='__main__')"
    )

    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr == b"the command line needs an extra: pip install 'chatkeep[server]'\n"


def test_the_version_is_told(call: Call) -> None:
    assert call("--version").stdout.startswith("chatkeep ")


@pytest.mark.parametrize(
    "args", [("nonsense",), ("sessions", "list", "--nonsense"), ("sessions", "list", "--limit", "0")]
)
def test_a_wrong_call_ends_with_2(call: Call, args: tuple[str, ...]) -> None:
    assert "Try 'chatkeep" in call(*args, code=2).stderr


def test_an_unknown_setting_is_one_sentence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_STORE_ULR", "x")

    refused = call("sessions", "list", code=1)

    assert refused.stderr == "chatkeep: there is no setting CHATKEEP_STORE_ULR; did you mean CHATKEEP_STORE_URL?\n"


def test_an_unknown_engine_is_one_sentence(call: Call) -> None:
    refused = call("sessions", "list", "--store", "oracle://x", code=1)

    assert refused.stderr.startswith("chatkeep: no engine for the store URL scheme 'oracle'; known are ")


def test_debug_shows_where_an_error_comes_from() -> None:
    shown = run("sessions", "show", "nope", "--debug").stderr.decode()

    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("chatkeep: no session 'nope' here")


def test_a_closed_pipe_is_silent(call: Call) -> None:
    call("messages", "add", "a", "--create", "--text", "x" * 200_000)
    reading, writing = os.pipe()
    os.close(reading)

    for args in (("export",), ("messages", "list", "a"), ("sessions", "list", "--json")):
        ended = subprocess.run([*COMMAND, *args], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)

        assert (ended.returncode, ended.stderr) == (141, b""), args
    os.close(writing)


def test_json_is_written_where_the_terminal_knows_ascii_only(call: Call) -> None:
    call("messages", "add", "a", "--create", "--text", "grüezi")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}

    as_json = run("messages", "list", "a", "--json", env=ascii_only)
    for_people = run("messages", "list", "a", env=ascii_only)

    assert json.loads(as_json.stdout)["parts"][0]["text"] == "grüezi"
    assert b"gr?ezi" in for_people.stdout


def test_several_processes_write_to_one_file_and_lose_nothing(json_of: Json) -> None:
    json_of("sessions", "new", "a")
    lines = "".join(f'{{"role": "user", "content": "m{n}"}}\n' for n in range(50)).encode()
    writers = [
        subprocess.Popen(
            [*COMMAND, "import", "-", "--session", f"s{n}", "--json"], stdin=subprocess.PIPE, stdout=-1, stderr=-1
        )
        for n in range(2)
    ] + [
        subprocess.Popen([*COMMAND, "messages", "add", "a", "--text", f"t{n}"], stdin=-1, stdout=-1, stderr=-1)
        for n in range(2)
    ]

    ends = [writer.communicate(lines, timeout=60) for writer in writers]

    assert [(writer.returncode, end[1]) for writer, end in zip(writers, ends, strict=True)] == [(0, b"")] * 4
    assert [len(json_of("messages", "list", name, "--all")) for name in ("s0", "s1", "a")] == [50, 50, 2]


@pytest.mark.parametrize(
    "args",
    [
        ("sessions", "show", "\udcff"),
        ("sessions", "new", "--title", "\udcff"),
        ("sessions", "list", "--app", ""),
        ("sessions", "list", "--user", "\udcff"),
        ("sessions", "list", "--store", "sqlite:///"),
        ("sessions", "list", "--store", "sqlite://[x"),
        ("sessions", "fork", "x" * 300),
        ("messages", "add", "a", "--create", "--text", "\udcff"),
        ("messages", "list", "\udcff"),
        ("search", "\udcff"),
        ("export", "\udcff"),
        ("import", "\udcff"),
        ("import", "."),
        ("chat", "-m", "\udcff"),
        ("chat", "-m", " "),
        ("chat", "-m", "x", "--session", ""),
        ("serve", "--host", "\udcff"),
        ("doctor", "--store", "sqlite://[x"),
    ],
)
def test_hostile_arguments_are_one_sentence(call: Call, args: tuple[str, ...]) -> None:
    refused = call(*args, code=1)

    assert len((refused.stderr or refused.stdout.splitlines()[-1]).splitlines()) == 1
