"""`chatkeep sessions …`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


def test_a_new_session_is_listed(call: Call, json_of: Json) -> None:
    made = call("sessions", "new", "--title", "Refund").stdout.strip()

    (listed,) = json_of("sessions", "list")

    assert (listed["id"], listed["title"], listed["title_source"]) == (made, "Refund", "user")


def test_a_taken_id_is_refused_with_one_sentence(call: Call) -> None:
    call("sessions", "new", "a")

    refused = call("sessions", "new", "a", code=1)

    assert refused.stderr == "chatkeep: session 'a' exists already; choose another id, or use ensure\n"
    assert refused.stdout == ""


def test_metadata_must_be_a_json_object(call: Call, json_of: Json) -> None:
    refused = call("sessions", "new", "--metadata", "[1]", code=1)
    (made,) = json_of("sessions", "new", "--metadata", '{"project": "x"}')

    assert "must be a JSON object" in refused.stderr
    assert made["metadata"] == {"project": "x"}


def test_each_change_of_state_shows_in_the_session(call: Call, json_of: Json) -> None:
    call("sessions", "new", "a")

    states = {
        verb: json_of("sessions", verb, "a")[0]["state"]
        for verb in ("pin", "unpin", "archive", "unarchive", "delete", "restore")
    }

    assert states == {
        "pin": "pinned",
        "unpin": "unpinned",
        "archive": "archived",
        "unarchive": "active",
        "delete": "trashed",
        "restore": "active",
    }


def test_several_sessions_are_changed_at_once(call: Call, json_of: Json) -> None:
    for name in "ab":
        call("sessions", "new", name)

    changed = json_of("sessions", "archive", "a", "b")

    assert [session["state"] for session in changed] == ["archived", "archived"]
    assert json_of("sessions", "list") == []
    assert len(json_of("sessions", "list", "--archived")) == 2


def test_lists_filter_by_state_and_stop_at_the_limit(call: Call, json_of: Json) -> None:
    for number in range(3):
        call("sessions", "new", f"s{number}")
    call("sessions", "delete", "s0")

    assert [session["id"] for session in json_of("sessions", "list", "--state", "trashed")] == ["s0"]
    assert len(json_of("sessions", "list", "--limit", "1")) == 1
    assert "--all shows more" in call("sessions", "list", "--limit", "1").stderr
    assert call("sessions", "list", "--limit", "2").stderr == ""
    assert len(json_of("sessions", "list", "--all")) == 2


def test_a_list_where_no_terminal_is_has_tabs_and_no_colours(call: Call) -> None:
    call("sessions", "new", "a", "--title", "One \x1b[31mtwo")

    listed = call("sessions", "list").stdout

    assert listed.split("\t")[:4] == ["a", "One ␛[31mtwo", "active", "0"]
    assert "\x1b" not in listed


def test_an_empty_list_says_so_on_stderr(call: Call) -> None:
    result = call("sessions", "list")

    assert result.stdout == ""
    assert "chatkeep chat" in result.stderr


def test_a_rename_is_kept(call: Call, json_of: Json) -> None:
    call("sessions", "new", "a")

    json_of("sessions", "rename", "a", "Other")

    assert json_of("sessions", "show", "a")[0]["title"] == "Other"


def test_a_purge_asks_and_without_anybody_to_ask_does_nothing(call: Call, json_of: Json) -> None:
    call("sessions", "new", "a")

    refused = call("sessions", "purge", "a", code=1)

    assert "add --yes" in refused.stderr
    assert json_of("sessions", "show", "a")[0]["id"] == "a"


def test_a_purge_tells_what_was_removed(call: Call, json_of: Json) -> None:
    call("messages", "add", "a", "--create", "--text", "hello")

    (receipt,) = json_of("sessions", "purge", "a", "--yes")

    assert receipt["removed"]["messages"] == 1
    call("sessions", "show", "a", code=1)


def test_a_purge_at_a_terminal_goes_by_the_answer(call: Call, json_of: Json, terminal: Call) -> None:
    call("sessions", "new", "a")
    asked = terminal("sessions", "purge", "a")
    asked.wait_for(r"for good\? \[y/N\]")

    asked.type("n\n")

    assert asked.end() == 1
    assert json_of("sessions", "show", "a")[0]["id"] == "a"


def test_a_fork_is_a_session_of_its_own(call: Call, json_of: Json) -> None:
    for text in ("one", "two"):
        call("messages", "add", "a", "--create", "--text", text)

    (copy,) = json_of("sessions", "fork", "a", "--at", "1", "--id", "b", "--title", "Copy")

    assert (copy["id"], copy["title"], copy["message_count"]) == ("b", "Copy", 1)


def test_a_missing_session_is_told_with_the_way_to_find_it(call: Call) -> None:
    missing = call("sessions", "show", "nope", code=1)

    assert missing.stderr.count("\n") == 1
    assert "no session 'nope' here; `chatkeep sessions list --archived`" in missing.stderr


def test_apps_and_users_do_not_see_each_other(call: Call, json_of: Json) -> None:
    call("sessions", "new", "a", "--app", "shop", "--user", "ann")

    assert json_of("sessions", "list") == []
    assert [session["app"] for session in json_of("sessions", "list", "--app", "shop", "--user", "ann")] == ["shop"]
