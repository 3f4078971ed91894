"""JSON as it goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from chatkeep.api.encoding import Json, message_json, messages_json
from chatkeep.domain.messages import Content, JsonValue, Message, Reasoning, Text, Unreadable, Usage, from_us, to_us
from chatkeep.domain.paths import Jumps
from chatkeep.domain.sessions import NewSession, Session, created
from chatkeep.domain.wire import part_to_json
from chatkeep.stores import codec

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
SAID = st.text(st.characters(codec="utf-8"))
PLAIN = st.builds(Content, parts=st.tuples(st.builds(Text, SAID)))
CONTENTS = PLAIN | st.builds(
    Content,
    parts=st.lists(st.builds(Text, SAID) | st.builds(Reasoning, SAID), max_size=3).map(tuple),
    agent_name=st.none() | SAID,
    usage=st.none() | st.builds(Usage, st.none() | st.integers(0, 9)),
    suggestions=st.lists(SAID, max_size=2).map(tuple),
    query_summary=st.none() | SAID,
    metadata=st.dictionaries(SAID, SAID, max_size=2),
)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(to_us)


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


@given(CONTENTS, MOMENTS)
def test_a_stored_message_is_told_as_it_is(content: Content, at_us: int) -> None:
    body = codec.encode(content)
    stored = Message(3, 2, b"i" * 16, "user", "complete", at_us, 0, None, body, codec.decode)

    told = message_json(stored)

    assert told["parts"] == [part_to_json(part) for part in content.parts]
    assert told["created_at"] == from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert told["usage"] == (None if content.usage is None else asdict(content.usage))
    assert (told["agent_name"], told["query_summary"]) == (content.agent_name, content.query_summary)
    assert (told["suggestions"], told["metadata"]) == (list(content.suggestions), content.metadata)


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
