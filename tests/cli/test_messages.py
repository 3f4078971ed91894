"""`chatkeep messages …` and `chatkeep search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


def test_a_message_is_read_from_stdin_and_comes_back_in_order(json_of: Json) -> None:
    json_of("messages", "add", "a", "--create", stdin="grüezi\nmitenand\n")
    json_of("messages", "add", "a", "--role", "assistant", "--text", "hello")

    first, second = json_of("messages", "list", "a")

    assert (first["seq"], first["role"], first["parts"]) == (1, "user", [{"type": "text", "text": "grüezi\nmitenand"}])
    assert (second["seq"], second["role"], second["parent_seq"]) == (2, "assistant", 1)


def test_a_message_that_is_not_utf_8_is_refused_with_the_fix(call: Call, json_of: Json) -> None:
    refused = call("messages", "add", "a", "--create", stdin=b"gr\xfcezi\n", code=1)

    assert refused.stderr.startswith("chatkeep: stdin is not UTF-8 (byte 2); convert it first")
    assert json_of("sessions", "list") == []


def test_a_message_of_nothing_is_refused(call: Call) -> None:
    assert "give --text" in call("messages", "add", "a", "--create", stdin="", code=1).stderr


def test_a_message_beyond_the_limit_is_refused(call: Call) -> None:
    refused = call("messages", "add", "a", "--create", stdin="x" * 300_000, code=1)

    assert "the limit is 262144" in refused.stderr


def test_a_repeat_with_the_same_key_adds_nothing(call: Call, json_of: Json) -> None:
    add = ("messages", "add", "a", "--create", "--key", "k", "--text", "once")
    first = json_of(*add)

    again = call(*add, "--json")

    assert "stored already" in again.stderr
    assert json_of("messages", "list", "a") == first


def test_the_last_messages_are_the_newest_ascending(call: Call, json_of: Json) -> None:
    for number in range(1, 6):
        call("messages", "add", "a", "--create", "--text", f"m{number}")

    assert [message["seq"] for message in json_of("messages", "list", "a", "--last", "2")] == [4, 5]
    assert [message["seq"] for message in json_of("messages", "list", "a", "--all")] == [1, 2, 3, 4, 5]


def test_a_popped_message_is_shown_and_stays_on_its_branch(call: Call, json_of: Json) -> None:
    for text in ("one", "two"):
        call("messages", "add", "a", "--create", "--text", text)

    (popped,) = json_of("messages", "pop", "a")

    assert popped["seq"] == 2
    assert [message["seq"] for message in json_of("messages", "list", "a")] == [1]
    assert [message["seq"] for message in json_of("messages", "list", "a", "--all-branches")] == [1, 2]


def test_a_popped_turn_begins_with_its_question(call: Call, json_of: Json) -> None:
    call("messages", "add", "a", "--create", "--text", "question")
    call("messages", "add", "a", "--role", "assistant", "--text", "answer")

    assert [message["seq"] for message in json_of("messages", "pop", "a", "--turn")] == [1, 2]
    assert "nothing to take" in call("messages", "pop", "a").stderr


def test_a_redacted_message_has_its_place_and_no_content(call: Call, json_of: Json) -> None:
    call("messages", "add", "a", "--create", "--text", "secret")

    (redacted,) = json_of("messages", "redact", "a", "1")

    assert (redacted["seq"], redacted["redacted"], redacted["parts"]) == (1, True, [])
    assert "*Removed.*" in call("messages", "list", "a").stdout


def test_clearing_needs_a_yes_and_keeps_the_session(call: Call, json_of: Json) -> None:
    call("messages", "add", "a", "--create", "--text", "one")

    call("messages", "clear", "a", code=1)
    (cleared,) = json_of("messages", "clear", "a", "--yes")

    assert (cleared["message_count"], cleared["last_seq"]) == (0, 1)
    assert json_of("messages", "list", "a") == []


def test_a_missing_message_is_told_with_the_way_to_find_it(call: Call) -> None:
    call("sessions", "new", "a")

    assert "`chatkeep messages list --all-branches`" in call("messages", "redact", "a", "7", code=1).stderr


def test_stored_control_characters_cannot_steer_a_terminal(call: Call) -> None:
    call("messages", "add", "a", "--create", stdin="\x1b]0;owned\x07 \x9b31m ok\r\n")

    listed = call("messages", "list", "a").stdout

    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(listed)
    assert "␛]0;owned␇" in listed


def test_a_search_finds_the_newest_first_with_its_place(call: Call, json_of: Json) -> None:
    for text in ("a red apple", "a green apple"):
        call("messages", "add", "a", "--create", "--text", text)

    hits = json_of("search", "app")
    shown = call("search", "green", "app").stdout

    assert [(hit["seq"], hit["highlights"]) for hit in hits if hit["seq"]] == [(2, [[8, 13]]), (1, [[6, 11]])]
    assert shown.startswith("a #2 · a red apple · ")
    assert "\x1b" not in shown


def test_a_search_without_a_hit_says_so(call: Call) -> None:
    assert "nothing was found" in call("search", "nothing").stderr


def test_a_search_without_a_word_is_refused(call: Call) -> None:
    assert "1 to 16 words" in call("search", "?!", code=1).stderr
