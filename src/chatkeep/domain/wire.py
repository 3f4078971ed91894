"""The one JSON form of a message's content: in the stores, in exports, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import (
    Content,
    Data,
    File,
    Foreign,
    JsonValue,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)

Made = TypeVar("Made")

PART_TYPES: dict[str, type[Part]] = {
    part.type: part for part in (Text, ToolCall, ToolResult, File, Reasoning, Data, Foreign)
}


_OPTIONAL = frozenset(("url", "sha256", "name"))
"""Fields of a file that are left out when they are None; None is a value in the others."""


def _fields(value: Any) -> dict[str, JsonValue]:
    """Return the set fields of a flat dataclass, without those that are None."""
    return {name: got for name in value.__slots__ if (got := getattr(value, name)) is not None}


def _make(kind: Callable[..., Made], fields: dict[str, JsonValue]) -> Made:
    known = kind.__slots__  # type: ignore[attr-defined]  # all of them are slotted dataclasses
    return kind(**{name: value for name, value in fields.items() if name in known})


def part_to_json(part: Part) -> dict[str, JsonValue]:
    """Return `{"type": …, …}` with all fields of the part that are set."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    fields: dict[str, JsonValue] = {"type": part.type}
    for name in part.__slots__:
        value = getattr(part, name)
        if value is not None or name not in _OPTIONAL:
            fields[name] = value
    if fields.get("is_error") is False:
        del fields["is_error"]
    return fields


def part_from_json(value: dict[str, JsonValue]) -> Part:
    """Return the part that `part_to_json` wrote. Raises Invalid for an unknown type or missing fields.

    Fields that this release does not know are passed over, here and in `content_from_json`: a newer one may write them.
    """
    fields = dict(value)
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in PART_TYPES:
        raise Invalid(f"unknown part type {kind!r}; known are {', '.join(PART_TYPES)}", field="parts")
    make: Callable[..., Part] = PART_TYPES[kind]
    try:
        return _make(make, fields)
    except TypeError as error:
        raise Invalid(f"a part of type {kind!r} lacks fields: {error}", field="parts") from error


def content_to_json(content: Content) -> dict[str, JsonValue]:
    """Return a JSON object with what is set; an empty content is `{}`."""
    found: dict[str, JsonValue] = {}
    if content.parts:
        found["parts"] = [part_to_json(part) for part in content.parts]
    for name in ("agent_name", "model", "finish_reason", "duration_ms", "query_summary", "run_id", "error", "context"):
        value = getattr(content, name)
        if value is not None:
            found[name] = value
    if content.usage is not None:
        found["usage"] = _fields(content.usage)
    if content.sources:
        found["sources"] = [_fields(source) for source in content.sources]
    if content.suggestions:
        found["suggestions"] = list(content.suggestions)
    if content.metadata:
        found["metadata"] = content.metadata
    return found


def content_from_json(value: dict[str, JsonValue]) -> Content:
    """Return the content that `content_to_json` wrote. Raises Invalid for unknown fields or types."""
    fields = dict(value)
    try:
        if "parts" in fields:
            fields["parts"] = tuple(part_from_json(part) for part in fields["parts"])
        if "usage" in fields:
            fields["usage"] = _make(Usage, fields["usage"])
        if "sources" in fields:
            fields["sources"] = tuple(_make(Source, source) for source in fields["sources"])
        if "suggestions" in fields:
            fields["suggestions"] = tuple(fields["suggestions"])
        return _make(Content, fields)
    except (TypeError, ValueError, AttributeError) as error:
        raise Invalid(f"this is no content of a message: {error}") from error
