"""Items of OpenAI's Responses API as messages, and back again without a difference.

An item is kept as it is, in a part of its own (`Foreign`); what other readers can use, its texts and its tool call or
result, stands before it in parts of Chatkeep's own, and is taken out of the item, so that nothing is stored twice. The
most frequent item, `{"role": …, "content": "text"}`, is a message of one text and nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import (
    Content,
    Foreign,
    JsonValue,
    NewMessage,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

FORMAT = "openai.responses"

_ROLES: dict[object, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXTS = frozenset(("input_text", "output_text", "text"))
_CALL = ("call_id", "name", "arguments")
_RESULT = ("call_id", "output")


class _Slot(NamedTuple):
    """A value inside an item that stands in a part of Chatkeep's own."""

    holder: dict[str, Any]
    name: str


def message_from_item(item: JsonValue) -> NewMessage:
    """Return the message that keeps `item`. Raises Invalid for what no JSON can hold."""
    message = _split(item)
    try:
        check_messages([message])
    except Invalid:  # such as a text that holds half of a surrogate pair, which only a foreign item may
        message = NewMessage(message.role, Content(parts=(Foreign(FORMAT, item),)))
        check_messages([message])
    return message


def _split(item: JsonValue) -> NewMessage:
    role = _role(item)
    if not isinstance(item, dict):
        return NewMessage(role, Content(parts=(Foreign(FORMAT, item),)))
    text = item.get("content")
    if text and isinstance(text, str) and list(item) == ["role", "content"] and item["role"] == role:
        return NewMessage(role, Content(parts=(Text(text),)))
    rest = copy.deepcopy(item)
    parts: list[Part] = []
    for slot in _text_slots(rest):
        parts.append(Text(slot.holder[slot.name]))
        slot.holder[slot.name] = ""
    tool = _tool_part(rest)
    if tool is not None:
        parts.append(tool)
    return NewMessage(role, Content(parts=(*parts, Foreign(FORMAT, rest))))


def _role(item: JsonValue) -> Role:
    if not isinstance(item, dict):
        return "assistant"
    if isinstance(item.get("role"), str) and item["role"] in _ROLES:
        return _ROLES[item["role"]]
    return "tool" if str(item.get("type", "")).endswith("_output") else "assistant"


def _text_slots(item: dict[str, Any]) -> list[_Slot]:
    """Return where the texts of a message item stand, in order; the same whether they are there or taken out."""
    content = item.get("content")
    if "role" not in item:
        return []
    if isinstance(content, str):
        return [_Slot(item, "content")]
    found = content if isinstance(content, list) else []
    texts = [part for part in found if isinstance(part, dict) and part.get("type") in _TEXTS]
    return [_Slot(part, "text") for part in texts if isinstance(part.get("text"), str)]


def _tool_part(item: dict[str, Any]) -> ToolCall | ToolResult | None:
    """Take the call or the result out of an item of that kind and return it."""
    kind = item.get("type")
    if kind == "function_call" and all(isinstance(item.get(name), str) for name in _CALL):
        call = ToolCall(*(item[name] for name in _CALL))
        item.update(dict.fromkeys(_CALL, ""))
        return call
    if kind == "function_call_output" and isinstance(item.get("call_id"), str) and "output" in item:
        result = ToolResult(item["call_id"], item["output"])
        item.update(dict.fromkeys(_RESULT, ""))
        return result
    return None


def items_of(role: Role, parts: Sequence[Part]) -> list[JsonValue]:
    """Return the items that a message holds: the one it was made of, or, written by somebody else, those it amounts to.

    A redacted message, which has no parts, holds none.
    """
    kept = parts[-1] if parts else None
    if isinstance(kept, Foreign) and kept.format == FORMAT:
        return [_joined(kept.item, parts[:-1])]
    return list(_amounting(role, parts))


def _joined(rest: JsonValue, parts: Sequence[Part]) -> JsonValue:
    """Put the parts back where `_split` took them from."""
    if not parts or not isinstance(rest, dict):
        return rest
    item = copy.deepcopy(rest)
    texts = [part.text for part in parts if isinstance(part, Text)]
    for slot, text in zip(_text_slots(item), texts, strict=True):
        slot.holder[slot.name] = text
    tool = parts[-1]
    if isinstance(tool, ToolCall):
        item.update(zip(_CALL, (tool.id, tool.name, tool.arguments), strict=True))
    elif isinstance(tool, ToolResult):
        item.update(zip(_RESULT, (tool.id, tool.content), strict=True))
    return item


def _amounting(role: Role, parts: Sequence[Part]) -> Iterator[JsonValue]:
    text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    if text and role != "tool":
        yield {"role": role, "content": text}
    for part in parts:
        if isinstance(part, ToolCall):
            arguments = part.arguments if isinstance(part.arguments, str) else json.dumps(part.arguments)
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
        elif isinstance(part, ToolResult):
            output = part.content if isinstance(part.content, str) else json.dumps(part.content)
            yield {"type": "function_call_output", "call_id": part.id, "output": output}
