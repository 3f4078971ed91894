"""`chatkeep copy`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


def test_conversations_of_all_users_move_to_another_store(call: Call, json_of: Json, place: Path) -> None:
    elsewhere = f"sqlite:///{place}/other.db"
    for name in ("alice", "bob"):
        call("messages", "add", "s", "--create", "--text", f"hello of {name}", "--user", name)
    before = json_of("messages", "list", "s", "--user", "bob")

    (first,) = json_of("copy", "--to", elsewhere)
    (second,) = json_of("copy", "--to", elsewhere)
    shown = call("copy", "--to", elsewhere).stdout

    assert (first["complete"], first["scopes"], first["sessions"]) == (True, 2, {"copied": 2})
    assert (first["messages"], first["verified_messages"]) == (2, 2)
    assert (second["sessions"], second["messages"]) == ({"unchanged": 2}, 0)
    assert "sessions unchanged" in shown
    assert json_of("messages", "list", "s", "--user", "bob", "--store", elsewhere) == before


def test_a_session_of_that_id_in_the_target_is_told_and_left_alone(call: Call, place: Path) -> None:
    elsewhere = f"sqlite:///{place}/other.db"
    call("messages", "add", "s", "--create", "--text", "ours")
    call("messages", "add", "s", "--create", "--text", "theirs", "--store", elsewhere)

    refused = call("copy", "--to", elsewhere, code=1)

    assert "conflict: 's'" in refused.stderr
    assert "theirs" in call("messages", "list", "s", "--store", elsewhere).stdout


def test_a_store_is_not_copied_into_itself(call: Call, place: Path) -> None:
    here = f"sqlite:///{place}/other.db"

    assert "the same store" in call("copy", "--from", here, "--to", here, code=1).stderr
