"""What turning a prompt into any server's own form has in common. Pure.

Sent are texts, files (as links or mentions), tool calls and tool results: what was said. Left out are reasoning (no
server wants another's), data (the application's own values, which nobody said to the model) and foreign items (opaque
to us, and possibly another server's secrets).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from chatkeep.domain.messages import File, JsonValue, Part, Text, ToolResult


def clean(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate, so that it can be encoded; pairs are joined."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def json_text(value: JsonValue) -> str:
    """Return `value` as JSON that can be encoded."""
    return clean(json.dumps(value, ensure_ascii=False))


def json_object(value: JsonValue) -> dict[str, Any]:
    """Return a tool call's arguments as an object that can be encoded; what is none becomes its `arguments` key."""
    known = json.loads(json_text(value))
    return known if isinstance(known, dict) else {"arguments": known}


def result_text(result: ToolResult) -> str:
    """Return what a tool gave back: text as it is, anything else as JSON."""
    return clean(result.content) if isinstance(result.content, str) else json_text(result.content)


def result_text_with_outcome(result: ToolResult) -> str:
    """Return `result_text`, marked if it is an error, for protocols that have no field for that."""
    return f"Error: {result_text(result)}" if result.is_error else result_text(result)


def is_linked_image(part: Part) -> bool:
    """Whether a server can fetch the part as an image by itself."""
    return isinstance(part, File) and part.media_type.startswith("image/") and _is_web_link(part.url)


def words(part: Part) -> str | None:
    """Return a text, or the mention of a file, that holds more than white space; None for any other part."""
    if isinstance(part, Text):
        return clean(part.text) if part.text.strip() else None
    if isinstance(part, File):
        link = part.url if _is_web_link(part.url) else None
        return clean(f"[file: {', '.join(filter(None, (part.name, part.media_type, link)))}]")
    return None


def all_words(parts: Iterable[Part]) -> str:
    """Return the `words` of all parts, separated by blank lines."""
    return "\n\n".join(said for part in parts if (said := words(part)) is not None)


def _is_web_link(url: str | None) -> bool:
    return url is not None and url.startswith(("https://", "http://"))
