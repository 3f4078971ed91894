"""`chatkeep cleanup`, `migrate` and `doctor`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


def verdicts(findings: list[Any]) -> dict[str, str]:
    return {finding["check"]: finding["verdict"] for finding in findings}


def test_a_cleanup_tells_what_it_did(call: Call, json_of: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        call("messages", "add", name, "--create", "--text", name)
    monkeypatch.setenv("CHATKEEP_KEEP_LAST_SESSIONS", "2")

    (report,) = json_of("cleanup")

    assert (report["trashed_sessions"], report["purged_sessions"], report["finished"]) == (1, 0, True)
    assert len(json_of("sessions", "list")) == 2


def test_a_cleanup_for_people_has_a_line_for_each_count(call: Call) -> None:
    assert call("cleanup").stdout.splitlines()[0].split() == ["purged", "sessions", "0"]


def test_migrate_makes_the_database_and_check_then_agrees(call: Call, json_of: Json, place: Path) -> None:
    assert "yet; `chatkeep migrate` makes it" in call("migrate", "--check", code=1).stderr
    assert not (place / "chats.db").exists()

    (made,) = json_of("migrate")
    (checked,) = json_of("migrate", "--check")

    assert made["current"]
    assert (checked["current"], checked["steps"]) == (True, [])
    assert checked["version"] == checked["wanted"]
    assert checked["engine"].startswith("SQLite ")


def test_check_tells_an_older_schema_and_leaves_it(call: Call, place: Path) -> None:
    call("migrate")
    with apsw.Connection(str(place / "chats.db")) as database:
        database.pragma("user_version", 0)

    older = call("migrate", "--check", code=1)
    plan = call("migrate", "--plan")

    assert "run `chatkeep migrate`" in older.stderr
    assert plan.stdout.split()[-7:] == ["version", "0", "wanted", "1", "steps", "1", "initial"]
    assert apsw.Connection(str(place / "chats.db")).pragma("user_version") == 0


def test_a_file_of_another_program_is_refused_with_the_fix(call: Call, place: Path) -> None:
    apsw.Connection(str(place / "chats.db")).execute("CREATE TABLE other (x)")

    assert "is a database of another program; choose another path" in call("sessions", "list", code=1).stderr


def test_doctor_finds_a_healthy_place_healthy_and_makes_no_file(
    json_of: Json, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATKEEP_PORT", "0")

    found = json_of("doctor")

    assert set(verdicts(found).values()) == {"ok"}
    assert list(verdicts(found)) == [
        "version", "settings", "data folder", "store", "engines", "extras", "model", "port",
    ]  # fmt: skip
    assert list(place.iterdir()) == []


def test_doctor_hides_secrets(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_MODEL_API_KEY", "sk-hidden")
    monkeypatch.setenv("CHATKEEP_CURSOR_SECRET", "c" * 40)
    monkeypatch.setenv("CHATKEEP_MODEL_BASE_URL", "http://me:pass-hidden@127.0.0.1:9/v1?api_key=key-hidden")

    told = call("doctor").stdout

    assert "hidden" not in told
    assert "c" * 40 not in told
    assert "model_base_url=http://me:***@127.0.0.1:9/v1?api_key=***" in told


def test_doctor_tells_a_bad_setting_with_its_fix_and_ends_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_MODLE", "echo")

    told = call("doctor", code=1).stdout

    assert "fail  settings     there is no setting CHATKEEP_MODLE; did you mean CHATKEEP_MODEL?" in told


def test_doctor_warns_when_the_port_is_taken(json_of: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("CHATKEEP_PORT", str(taken.getsockname()[1]))

        found = json_of("doctor")

    assert verdicts(found)["port"] == "warn"


def test_doctor_fails_for_a_model_that_cannot_be_reached(json_of: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("CHATKEEP_MODEL", "ollama:qwen2.5:7b")
    monkeypatch.setenv("CHATKEEP_MODEL_BASE_URL", f"http://127.0.0.1:{port}")

    found = json_of("doctor", code=1)

    assert verdicts(found)["model"] == "fail"
    assert "cannot be reached" in next(finding["said"] for finding in found if finding["check"] == "model")


def test_doctor_fails_for_a_folder_that_cannot_be_written(json_of: Json, place: Path) -> None:
    (place / "file").write_text("")

    found = json_of("doctor", "--store", f"sqlite:///{place}/file/chats.db", code=1)

    assert verdicts(found)["data folder"] == "fail"


def test_doctor_warns_of_a_store_that_ends_with_the_process(json_of: Json) -> None:
    found = json_of("doctor", "--store", "memory://")

    assert {"check": "store", "verdict": "warn"}.items() <= found[3].items()


def test_doctor_warns_when_the_clock_of_the_database_is_off(
    json_of: Json, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("migrate")

    async def schema(_: object) -> dict[str, str]:
        return {"version": "1", "wanted": "1", "clock_us": str(int((time.time() - 3_600) * 1e6))}

    before = [finding["check"] for finding in json_of("doctor")]
    monkeypatch.setattr("chatkeep.stores.sqlite.store.SqliteStore.schema", schema)
    findings = {finding["check"]: finding for finding in json_of("doctor")}

    assert "clock" not in before
    assert findings["clock"]["verdict"] == "warn"
    assert "-3600.0 s" in findings["clock"]["said"]
