"""JSON as it goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from chatkeep.api.encoding import Json, messages_json
from chatkeep.domain.messages import JsonValue, Unreadable
from chatkeep.domain.paths import Jumps
from chatkeep.domain.sessions import NewSession, Session, created

TEXT = st.text(st.characters(exclude_categories=())) | st.text(st.sampled_from('\ud800\udfffa"\\\0\u2028é'), max_size=5)
WHOLE = st.text().map(lambda text: text + "é")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**600), 2**600)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


def _joins(value: JsonValue) -> bool:
    """Return whether a JSON text holds surrogates that only its escapes keep apart."""
    return repr(json.loads(json.dumps(value))) != repr(value)


@given(VALUES)
def test_every_json_value_is_read_as_it_was_written(value: JsonValue) -> None:
    read = json.loads(Json.dump(value))

    assert _joins(value) or repr(read) == repr(value)


@given(st.dictionaries(WHOLE, WHOLE))
def test_text_is_written_as_it_is(value: JsonValue) -> None:
    assert Json.dump(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_depth_is_no_limit() -> None:
    value: JsonValue = "é\ud800"
    for _ in range(400):
        value = [value]

    assert json.loads(Json.dump(value)) == value


class _Counted(tuple[tuple[int, int], ...]):
    """Branch points that count how often somebody looked through them."""

    __slots__ = ()
    looks = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        type(self).looks += 1
        return super().__iter__()


def test_the_branch_points_of_a_session_are_looked_through_once_for_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps: Jumps = _Counted((seq, seq - 2) for seq in range(10, 1_000, 2))
    monkeypatch.setattr(Session, "jumps", jumps)
    session = created("a", "i", NewSession(), datetime.now(UTC), by_append=False)._replace(first_seq=1, last_seq=2_000)

    page = messages_json([Unreadable(seq, "") for seq in range(900, 1_100)], session)

    assert "siblings" in page[0]
    assert "siblings" not in page[-1]
    assert _Counted.looks <= 2
