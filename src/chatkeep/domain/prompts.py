"""What a model is sent: messages, and how stored ones become such."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from chatkeep.domain.messages import File, Foreign, Message, Part, Role, Text, ToolCall, ToolResult
from chatkeep.domain.tokens import text_tokens

NO_RESULT = "No result was recorded: the call was interrupted."
_TEMPLATE_MARK = re.compile(r"<(?=\|)|(?<=\|)>")
_LEAST_CHARS = 40


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt, in the order in which the model shall see it."""

    role: Role
    parts: tuple[Part, ...]


def projected(entries: Sequence[Message], *, more: bool = False) -> list[tuple[int, PromptMessage]]:
    """Return the messages as a model may be sent them, each with its seq, in order; empty ones are left out.

    Every tool result stands behind its call, every call has a result: one that was superseded without one gets
    `NO_RESULT`, and a result without its call is left out. Only calls of the newest turn may still be open, and none
    if there is `more`: another message of the user behind these.
    """
    if not any(entry.uses_tools for entry in entries):
        return [(entry.seq, PromptMessage(entry.role, entry.parts)) for entry in entries if entry.parts]
    answered = _answered(entries)
    newest = max((at for at, entry in enumerate(entries) if entry.role == "user"), default=0)
    newest = len(entries) if more else newest
    called: set[str] = set()
    prompt: list[tuple[int, PromptMessage]] = []
    for at, entry in enumerate(entries):
        parts: list[Part] = []
        dead: list[Part] = []
        lost = False
        for part in entry.parts:
            if isinstance(part, ToolCall):
                called.add(part.id)
                if part.id not in answered and at < newest:
                    dead.append(ToolResult(part.id, NO_RESULT, is_error=True))
            elif isinstance(part, ToolResult) and part.id not in called:
                lost = True
                continue
            parts.append(part)
        # What another system keeps beside a lost result is of no use without it.
        if parts and not (lost and all(isinstance(part, Foreign) for part in parts)):
            prompt.append((entry.seq, PromptMessage(entry.role, tuple(parts))))
        if dead:
            prompt.append((entry.seq, PromptMessage("tool", tuple(dead))))
    return prompt


def _answered(entries: Sequence[Message]) -> set[str]:
    called: set[str] = set()
    answered: set[str] = set()
    for entry in entries:
        for part in entry.parts:
            if isinstance(part, ToolCall):
                called.add(part.id)
            elif isinstance(part, ToolResult) and part.id in called:
                answered.add(part.id)
    return answered


def clipped(text: str, *, max_tokens: float) -> str:
    """Return `text`, or its beginning and its end around a mark that says how much was left out."""
    tokens = text_tokens(text)
    if tokens <= max_tokens:
        return text
    keep = len(text)
    while True:
        keep = min(keep - 1, int(keep * max(0.5, min(0.95, max_tokens / tokens))))
        if keep < _LEAST_CHARS:
            return f"[{len(text)} characters left out]"
        head = keep // 2
        short = f"{text[:head]}\n[{len(text) - keep} characters left out]\n{text[len(text) - keep + head :]}"
        tokens = text_tokens(short)
        if tokens <= max_tokens:
            return short


def clipped_part(part: Part, *, max_tokens: float) -> Part:
    """Return the part with its text, or what the tool gave back as text, clipped; of a file its mention; any other
    part as it is.
    """
    if isinstance(part, File):
        return Text(f"[{part.media_type}: {part.name or part.url or part.sha256}]")
    if isinstance(part, Text):
        return replace(part, text=clipped(part.text, max_tokens=max_tokens))
    if isinstance(part, ToolResult) and isinstance(part.content, str):
        return replace(part, content=clipped(part.content, max_tokens=max_tokens))
    return part


def quoted(text: str, *tags: str) -> str:
    """Return `text` so that it can neither end nor begin a block of one of the `tags`, nor a chat template's turn."""
    if "<" not in text and "|>" not in text:
        return text
    shut = _tag_pattern(tags).sub("&lt;", text)
    return _TEMPLATE_MARK.sub(lambda found: "&lt;" if found.group() == "<" else "&gt;", shut)


@cache
def _tag_pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(map(re.escape, tags))})\b)", re.IGNORECASE)
