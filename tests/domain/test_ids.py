"""Identifiers and bounds."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.errors import Invalid, LimitExceeded
from chatkeep.domain.ids import check_id, derived_id, message_uids, new_id, new_key
from chatkeep.domain.limits import (
    MAX_INTEGER_BITS,
    MAX_JSON_DEPTH,
    check_json,
    check_limit,
    check_size,
    check_text,
)
from chatkeep.domain.scope import Scope

BORDERED = st.lists(st.text(st.sampled_from("ab\0"), max_size=3), max_size=4)


@given(st.text())
def test_an_id_is_any_text_of_1_to_256_bytes(value: str) -> None:
    encodable = not any(0xD800 <= ord(char) <= 0xDFFF for char in value)
    if encodable and 1 <= len(value.encode()) <= 256:
        assert check_id(value, "id") == value
    else:
        with pytest.raises(Invalid):
            check_id(value, "id")


def test_the_bound_of_an_id_counts_bytes() -> None:
    assert check_id("😀" * 64, "id")
    with pytest.raises(LimitExceeded):
        check_id("😀" * 64 + "a", "id")
    with pytest.raises(Invalid):
        check_id(b"bytes", "id")  # type: ignore[arg-type]  # that is the point


def test_a_scope_without_a_user_is_invalid() -> None:
    for fields in (("", "a", "u"), ("t", "", "u"), ("t", "a", ""), ("t", "a", "u" * 257)):
        with pytest.raises(Invalid):
            Scope(*fields)


def test_new_ids_differ_and_fit_into_urls() -> None:
    ids = {new_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(len(made) == 26 and made.isalnum() and made == made.lower() for made in ids)


def test_new_keys_differ_and_are_ids() -> None:
    keys = {check_id(new_key(), "key") for _ in range(1_000)}

    assert len(keys) == 1_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # that is the point
def test_keys_of_processes_that_were_forked_differ_though_the_clock_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        made = pool.map(_keys, [3, 3], chunksize=1)

    keys = [key for theirs in made for key in theirs] + _keys(3)
    assert len(set(keys)) == len(keys)


def _keys(count: int) -> list[str]:
    return [new_key() for _ in range(count)]


@given(BORDERED, BORDERED)
def test_derived_ids_depend_on_all_parts_and_their_borders(one: list[str], other: list[str]) -> None:
    assert (derived_id(*one) == derived_id(*other)) == (one == other)


@given(st.tuples(*[st.text(st.sampled_from("ab"), max_size=3)] * 2), st.tuples(*[st.text("ab", max_size=3)] * 2))
def test_messages_of_different_sessions_or_keys_have_different_ids(one: Any, other: Any) -> None:
    assert (message_uids(one[0], one[1], 1) == message_uids(other[0], other[1], 1)) == (one == other)
    assert len(set(message_uids(one[0], one[1], 3))) == 3


@pytest.mark.parametrize("value", [1, 2, 200])
def test_a_limit_within_its_bounds_is_returned(value: int) -> None:
    assert check_limit(value, 200) == value


@pytest.mark.parametrize("value", [0, -1, 201])
def test_a_limit_outside_of_its_bounds_is_invalid(value: int) -> None:
    with pytest.raises(Invalid):
        check_limit(value, 200)


def test_a_size_may_reach_its_limit_and_no_more() -> None:
    check_size("thing", 10, 10)
    with pytest.raises(LimitExceeded) as error:
        check_size("thing", 11, 10)

    assert (error.value.actual, error.value.limit, error.value.field) == (11, 10, "thing")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -0.0, "", [], {}, {"": [None]}, 2**MAX_INTEGER_BITS - 1, nested(MAX_JSON_DEPTH)],
    ids=lambda value: f"{value!r:.20}",
)
def test_json_values_pass(value: Any) -> None:
    check_json(value, "field")


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**MAX_INTEGER_BITS,
        nested(MAX_JSON_DEPTH + 1),
        {1: "a"},
        {None: "a"},
        (1, 2),
        {1, 2},
        b"bytes",
        object(),
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_what_would_not_come_back_equal_is_invalid(value: Any) -> None:
    with pytest.raises(Invalid):
        check_json([value], "field")


def test_lone_surrogates_pass_where_they_are_admitted_and_split_characters_never() -> None:
    check_json(["\ud800", {"\udfff\ud800": "a"}], "field", surrogates=True)

    with pytest.raises(Invalid):
        check_json("\ud83d\ude00", "field", surrogates=True)
    with pytest.raises(Invalid):
        check_text("\ud800", "field")
