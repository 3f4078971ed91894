"""A message's content from JSON that somebody else wrote."""

from __future__ import annotations

from types import NoneType
from typing import Any

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import (
    Content,
    Data,
    File,
    Foreign,
    JsonValue,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from chatkeep.domain.wire import content_from_json

_STR = (str,)
_STR_OR_NONE = (str, NoneType)
_INT_OR_NONE = (int, NoneType)

_TYPES: dict[type, dict[str, tuple[type, ...]]] = {
    Text: {"text": _STR},
    Reasoning: {"text": _STR},
    ToolCall: {"id": _STR, "name": _STR},
    ToolResult: {"id": _STR, "is_error": (bool,)},
    File: {"media_type": _STR, "url": _STR_OR_NONE, "sha256": _STR_OR_NONE, "name": _STR_OR_NONE},
    Data: {"name": _STR},
    Foreign: {"format": _STR},
    Source: {"title": _STR, "url": _STR_OR_NONE, "snippet": _STR_OR_NONE, "score": (int, float, NoneType)},
    Usage: dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), _INT_OR_NONE),
    Content: {
        **dict.fromkeys(("agent_name", "model", "finish_reason", "query_summary", "run_id", "error"), _STR_OR_NONE),
        "duration_ms": _INT_OR_NONE,
        "context": (dict, NoneType),
        "metadata": (dict,),
    },
}
_LISTS = {"parts": dict, "sources": dict, "suggestions": str}


def read_content(fields: dict[str, JsonValue]) -> Content:
    """Return the content if all fields are known and have the types that `domain.messages` gives them.

    Raises Invalid. What else a content must be, `domain.checks` judges.
    """
    for name, kind in _LISTS.items():
        value = fields.get(name, [])
        if type(value) is not list or not all(type(item) is kind for item in value):
            what = "texts" if kind is str else "objects"
            raise Invalid(f"{name} must be a list of {what}", field=name)
    content = content_from_json(fields)
    for value in (content, content.usage, *content.parts, *content.sources):
        if value is not None:
            _check_types(value)
    return content


def _check_types(value: Any) -> None:
    for name, kinds in _TYPES[type(value)].items():
        if type(getattr(value, name)) not in kinds:
            raise Invalid(f"{name} has a value of the wrong type", field=name)
