"""A conversation as Markdown, for people."""

from __future__ import annotations

import json
import re

from chatkeep.domain.messages import (
    Data,
    File,
    Foreign,
    Message,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Unreadable,
)
from chatkeep.domain.sessions import Session

_NAMES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_TICKS = re.compile(r"`+")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|])")


def head_text(session: Session) -> str:
    """Return what stands above the messages, with the empty line behind it."""
    title = _inline(session.title) or "Untitled"
    return f"# {title}\n\n{session.created_at:%Y-%m-%d %H:%M} UTC\n\n"


def entry_text(entry: Message | Unreadable) -> str:
    """Return one message under a heading of its own, with the empty line behind it."""
    if isinstance(entry, Unreadable):
        return f"## Message {entry.seq}\n\n*This message cannot be read.*\n\n"
    name = _inline(entry.content.agent_name or "") or _NAMES[entry.role]
    marks = "" if entry.status == "complete" else f" · {entry.status}"
    lines = [f"## {name} · {entry.created_at:%Y-%m-%d %H:%M} UTC{marks}"]
    lines += ["*Removed.*"] if entry.redacted else [_part_text(part) for part in entry.parts]
    if entry.content.sources:
        lines.append("Sources:\n\n" + "\n".join(_source_text(source) for source in entry.content.sources))
    return "\n\n".join(lines) + "\n\n"


def _part_text(part: Part) -> str:  # noqa: PLR0911 -- one return for each type of part
    match part:
        case Text(text):
            return text
        case Reasoning(text):
            return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
        case ToolCall(_, name, arguments):
            return f"Called {_code(name)}:\n\n{_fenced(arguments)}"
        case ToolResult(_, content, is_error):
            return f"{'Failed' if is_error else 'Result'}:\n\n{_fenced(content)}"
        case File():
            return _file_text(part)
        case Data(name, value):
            return f"{_code(name)}:\n\n{_fenced(value)}"
        case Foreign(system, item):
            return f"{_code(system)}:\n\n{_fenced(item)}"


def _file_text(file: File) -> str:
    name = file.name or file.media_type
    if file.url is None:
        return f"File {_code(name)}, SHA-256 {_code(file.sha256 or '')}"
    return f"[{_inline(name)}](<{_address(file.url)}>)"


def _source_text(source: Source) -> str:
    title = _inline(source.title)
    return f"- {title}" if source.url is None else f"- [{title}](<{_address(source.url)}>)"


def _inline(text: str) -> str:
    """Return text on one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _address(url: str) -> str:
    return "".join(char for char in url if char not in "<>" and not char.isspace())


def _ticks(text: str, least: int) -> str:
    """Return more back-ticks than stand in a row in the text."""
    return "`" * max(least, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))


def _code(text: str) -> str:
    line = " ".join(text.split())
    ticks = _ticks(line, 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"{ticks}{line}{ticks}"


def _fenced(value: object) -> str:
    """Return a JSON value, or a text as it is, as a block of code."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    text = text.encode(errors="replace").decode()
    fence = _ticks(text, 3)
    return f"{fence}{'' if isinstance(value, str) else 'json'}\n{text}\n{fence}"
