"""Keys of different names never meet, and sort as the contract says."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import integers, text, tuples

from chatkeep.domain.scope import Scope
from chatkeep.stores.items.keys import run_key, run_of, session_key
from chatkeep.stores.records import moment, number, scope_key, scope_of

_NAMES = text(alphabet="ab\0/|#\x01\x02é", min_size=1, max_size=6)
_PLACES = tuples(_NAMES, _NAMES, _NAMES, _NAMES)


@given(_PLACES, _PLACES)
def test_keys_are_equal_only_for_equal_names(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> None:
    *scope, name = one
    *other_scope, other_name = other

    for make in (session_key, run_key):
        assert (make(Scope(*scope), name) == make(Scope(*other_scope), other_name)) == (one == other)


@given(_PLACES)
def test_names_come_back_from_their_keys(place: tuple[str, str, str, str]) -> None:
    *fields, name = place
    scope = Scope(*fields)

    assert scope_of(scope_key(scope)) == scope
    assert run_of(run_key(scope, name).pk) == (scope, name)


@given(integers(0, 2**60), integers(0, 2**60))
def test_numbers_sort_as_bytes(one: int, other: int) -> None:
    assert (number(one) < number(other)) == (one < other)


@given(integers(-(2**50), 2**50), integers(-(2**50), 2**50))
def test_moments_before_1970_sort_first(one: int, other: int) -> None:
    assert (moment(one) < moment(other)) == (one < other)


def test_the_longest_names_fit_into_a_key() -> None:
    longest = "\0" * 256
    scope = Scope(longest, longest, longest)

    assert len(session_key(scope, longest).pk) <= 2_048
    assert len(run_key(scope, longest).pk) <= 2_048
    assert len(session_key(scope, longest).sk) <= 1_024
