"""`chatkeep export` and `chatkeep import`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


LINES = '{"role": "user", "content": "hello"}\n{"role": "assistant", "content": "hi"}\n'


def test_an_export_comes_back_equal_and_a_second_time_changes_nothing(call: Call, json_of: Json, place: Path) -> None:
    call("messages", "add", "a", "--create", "--text", "grüezi")
    call("export", "-o", "out.jsonl")
    before = json_of("messages", "list", "a")
    elsewhere = ("--store", f"sqlite:///{place}/other.db")

    (first,) = json_of("import", "out.jsonl", *elsewhere)
    (second,) = json_of("import", "out.jsonl", *elsewhere)

    assert (first["created"], first["messages"]) == (1, 1)
    assert (second["unchanged"], second["messages"]) == (1, 0)
    (after,) = json_of("messages", "list", "a", *elsewhere)
    assert {**after, "id": None} == {**before[0], "id": None}


def test_an_export_to_stdout_is_its_lines_and_nothing_else(call: Call) -> None:
    call("messages", "add", "a", "--create", "--text", "hello")

    kinds = [json.loads(line)["kind"] for line in call("export").stdout.splitlines()]

    assert kinds == ["session", "message"]


def test_an_export_names_the_sessions_it_is_of(call: Call) -> None:
    for name in "ab":
        call("sessions", "new", name)

    assert [json.loads(line)["id"] for line in call("export", "b").stdout.splitlines()] == ["b"]
    assert "no session 'nope'" in call("export", "nope", code=1).stderr


def test_a_failed_export_leaves_the_old_file_as_it_was(call: Call, place: Path) -> None:
    (place / "out.jsonl").write_text("old")

    call("export", "nope", "-o", "out.jsonl", code=1)

    assert (place / "out.jsonl").read_text() == "old"
    assert sorted(path.name for path in place.glob("*.part")) + sorted(path.name for path in place.glob(".*")) == []


def test_an_export_that_cannot_be_written_is_one_sentence(call: Call) -> None:
    refused = call("export", "-o", "no/such/folder/out.jsonl", code=1)

    assert refused.stderr == "chatkeep: 'no/such/folder/out.jsonl' cannot be written: No such file or directory\n"


def test_markdown_is_of_all_sessions_unless_some_are_named(call: Call) -> None:
    for name in "ab":
        call("messages", "add", name, "--create", "--text", f"hello {name}")

    assert "# hello a" in (both := call("export", "--format", "markdown").stdout)
    assert "# hello b" in both
    assert "# hello b" not in call("export", "a", "--format", "markdown").stdout


def test_markdown_with_json_needs_a_file(call: Call, json_of: Json) -> None:
    call("sessions", "new", "a")

    assert "-o FILE" in call("export", "--format", "markdown", "--json", code=1).stderr
    assert json_of("export", "--format", "markdown", "-o", "a.md") == [
        {"file": "a.md", "format": "markdown", "pieces": 1}
    ]


def test_an_import_from_stdin_goes_into_the_named_session(json_of: Json) -> None:
    (report,) = json_of("import", "-", "--session", "a", stdin=LINES)

    assert (report["created"], report["messages"]) == (1, 2)
    assert [message["role"] for message in json_of("messages", "list", "a")] == ["user", "assistant"]


def test_a_dry_run_tells_the_same_and_writes_nothing(json_of: Json) -> None:
    (told,) = json_of("import", "-", "--session", "a", "--dry-run", stdin=LINES)
    assert json_of("sessions", "list") == []
    (done,) = json_of("import", "-", "--session", "a", stdin=LINES)

    assert {**told, "dry_run": False} == done


def test_what_is_invalid_is_told_with_its_line_and_the_rest_is_imported(call: Call, json_of: Json, place: Path) -> None:
    (place / "in.jsonl").write_bytes(
        b'\xef\xbb\xbf{"role": "user", "content": "one", "session_id": "a"}\n'
        b'{"role": "user", "content": "gr\xfcezi", "session_id": "b"}\n'
        b'{"role": "user", "content": "three", "session_id": "c"}\n'
    )

    result = call("import", "in.jsonl", code=1)

    assert "in.jsonl, line 2: not UTF-8 (byte 31)" in result.stderr
    assert "in.jsonl: invalid: a: line 2: " in result.stderr
    assert [len(json_of("messages", "list", name)) for name in "ac"] == [1, 1]


def test_a_line_beyond_the_limit_is_invalid_and_the_next_one_is_read(json_of: Json) -> None:
    long = '{"role": "user", "content": "' + "x" * 3_000_000 + '"}\n'

    (report,) = json_of("import", "-", "--session", "a", stdin=long + LINES, code=1)

    assert (report["lines"], report["invalid"], report["messages"]) == (3, 1, 2)


def test_a_conflict_is_told_and_ends_with_1(json_of: Json) -> None:
    json_of("import", "-", "--session", "a", stdin=LINES)

    (report,) = json_of("import", "-", "--session", "a", stdin=LINES.replace("hello", "other"), code=1)

    assert (report["conflict"], report["messages"]) == (1, 0)
    assert report["items"][0]["outcome"] == "conflict"


def test_a_file_that_is_missing_stops_the_import_before_it_begins(call: Call, json_of: Json, place: Path) -> None:
    (place / "in.jsonl").write_text(LINES)

    refused = call("import", "in.jsonl", "missing.jsonl", code=1)

    assert refused.stderr == "chatkeep: 'missing.jsonl' cannot be read; nothing was imported\n"
    assert json_of("sessions", "list") == []
