"""Contents as JSON and as stored bytes."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.errors import CorruptRecord, Invalid
from chatkeep.domain.messages import (
    Content,
    Data,
    File,
    Foreign,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from chatkeep.domain.wire import content_from_json, content_to_json
from chatkeep.stores.codec import decode, encode, fault
from chatkeep.testing.samples import CONTENTS, FOREIGN_VALUES

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.none() | st.integers(0, 2**53)


def json_values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=8
    )


JSON = json_values(TEXT)
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, TEXT),
    st.builds(ToolCall, TEXT, TEXT, JSON),
    st.builds(ToolResult, TEXT, JSON, st.booleans()),
    st.builds(File, TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT),
    st.builds(Reasoning, TEXT),
    st.builds(Data, TEXT, JSON),
    st.builds(Foreign, TEXT, JSON | st.sampled_from(list(FOREIGN_VALUES.values()))),
)
ALL_CONTENTS = st.builds(
    Content,
    parts=st.lists(PARTS, max_size=4).map(tuple),
    agent_name=st.none() | TEXT,
    model=st.none() | TEXT,
    finish_reason=st.none() | TEXT,
    usage=st.none() | st.builds(Usage, NUMBERS, NUMBERS, NUMBERS),
    duration_ms=NUMBERS,
    sources=st.lists(
        st.builds(Source, TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | st.floats(0, 1)), max_size=2
    ).map(tuple),
    suggestions=st.lists(TEXT, max_size=2).map(tuple),
    error=st.none() | TEXT,
    metadata=st.dictionaries(TEXT, JSON, max_size=2),
)


@given(ALL_CONTENTS)
def test_a_content_comes_back_equal_from_json_and_from_stored_bytes(content: Content) -> None:
    through_json = content_from_json(json.loads(json.dumps(content_to_json(content))))
    body = encode(content)

    assert fault(body) is None
    assert repr(through_json) == repr(decode(body)) == repr(content)


@given(st.text())
def test_text_is_stored_as_utf_8_or_refused(text: str) -> None:
    content = Content(parts=(Text(text),))
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(Invalid):
            encode(content)
        return

    assert decode(encode(content)) == content


@given(st.sampled_from(list(CONTENTS.values())), st.data())
def test_a_changed_byte_is_noticed_wherever_it_is(content: Content, data: st.DataObject) -> None:
    body = bytearray(encode(content))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))

    assert fault(bytes(body)) is not None


def _sealed(content: bytes) -> bytes:
    return content + crc32(content).to_bytes(4, "little")


def test_an_unknown_format_is_unreadable_and_a_sound_row_of_nonsense_corrupt() -> None:
    body = encode(Content(parts=(Text("hello"),)))

    assert fault(_sealed(b"Z" + body[1:-4])) == "unknown body format b'Z'"
    assert fault(_sealed(b"T" + body[1:-4])) is None
    with pytest.raises(CorruptRecord):
        decode(_sealed(b"J" + body[1:-4]))


def test_a_cut_body_is_noticed() -> None:
    body = encode(Content(parts=(Text("hello"),)))

    assert all(fault(body[:length]) for length in range(1, len(body)))


def test_an_empty_body_is_what_redaction_left() -> None:
    assert fault(b"") is None
    assert decode(b"") == Content()


def test_fields_of_a_newer_release_are_passed_over() -> None:
    newer = {"parts": [{"type": "text", "text": "a", "new": 1}], "usage": {"input_tokens": 1, "new": 2}, "new": 3}

    assert content_from_json(newer) == Content(parts=(Text("a"),), usage=Usage(input_tokens=1))


@pytest.mark.parametrize(
    "broken",
    [
        {"parts": [{"type": "unknown"}]},
        {"parts": [{"type": "text"}]},
        {"parts": [{"text": "a"}]},
        {"parts": 5},
        {"sources": [{"url": "u"}]},
        {"usage": 5},
        {"sources": ["title"]},
        {"parts": ["text"]},
        {"parts": [5]},
    ],
    ids=repr,
)
def test_what_is_no_content_is_invalid(broken: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        content_from_json(broken)
