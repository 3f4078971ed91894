"""JSON as it goes over the wire."""

from __future__ import annotations

import json

from hypothesis import given, strategies as st

from chatkeep.api.encoding import Json
from chatkeep.domain.messages import JsonValue

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
