"""What a message must look like before it is stored."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import MAX_METADATA_BYTES, check_json, check_size, check_text
from chatkeep.domain.messages import (
    ROLES,
    STATUSES,
    Content,
    Data,
    File,
    Foreign,
    NewMessage,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    plain_text,
)
from chatkeep.domain.sessions import dump

MAX_PARTS = 64
MAX_SOURCES = 64
MAX_SUGGESTIONS = 16
MAX_NAME_CHARS = 256
MAX_SUMMARY_CHARS = 100

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_messages(messages: Sequence[NewMessage]) -> None:
    """Raise Invalid or LimitExceeded, naming the place, unless every message can be stored and comes back equal.

    Sizes in bytes are checked where the final form is known, by the store.
    """
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if message.role not in ROLES:
            raise Invalid(f"role {message.role!r} is none of {', '.join(ROLES)}", field=f"{where}.role")
        if message.status not in STATUSES:
            raise Invalid(f"status {message.status!r} is none of {', '.join(STATUSES)}", field=f"{where}.status")
        if message.created_at is not None and message.created_at.tzinfo is None:
            raise Invalid("created_at needs a time zone", field=f"{where}.created_at")
        _check_content(message.content, where)


def _check_content(content: Content, where: str) -> None:
    plain = plain_text(content)
    if plain is not None:
        check_text(plain, f"{where}.parts[0].text")
        return
    check_size(f"{where}.parts", len(content.parts), MAX_PARTS, "parts")
    for at, part in enumerate(content.parts):
        _check_part(part, f"{where}.parts[{at}]")
    _check_lines(content, where)
    check_size(f"{where}.sources", len(content.sources), MAX_SOURCES, "sources")
    for source in content.sources:
        check_text(source.title, f"{where}.sources.title")
        check_json([source.url, source.snippet, source.score], f"{where}.sources")
    check_size(f"{where}.suggestions", len(content.suggestions), MAX_SUGGESTIONS, "suggestions")
    for suggestion in content.suggestions:
        check_text(suggestion, f"{where}.suggestions")
    usage = content.usage
    counts = () if usage is None else (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    for count in (content.duration_ms, *counts):
        if count is not None and not 0 <= count < 2**53:
            raise Invalid("durations and token counts are whole numbers from 0 to 2^53", field=where)
    for name, value in (("metadata", content.metadata), ("context", content.context)):
        check_json(value, f"{where}.{name}")
        check_size(f"{where}.{name}", len(dump(value).encode()), MAX_METADATA_BYTES)


def _check_lines(content: Content, where: str) -> None:
    bounds = dict.fromkeys(("agent_name", "model", "finish_reason", "run_id", "error"), MAX_NAME_CHARS)
    for name, most in {**bounds, "query_summary": MAX_SUMMARY_CHARS}.items():
        value = getattr(content, name)
        if value is not None:
            check_text(value, f"{where}.{name}")
            check_size(f"{where}.{name}", len(value), most, "characters")


def _check_part(part: Part, where: str) -> None:
    match part:
        case Text(text) | Reasoning(text):
            check_text(text, f"{where}.text")
        case ToolCall(id_, name, arguments):
            check_text(id_, f"{where}.id")
            check_text(name, f"{where}.name")
            check_json(arguments, f"{where}.arguments")
        case ToolResult(id_, content, is_error):
            check_text(id_, f"{where}.id")
            check_json(content, f"{where}.content")
            if type(is_error) is not bool:
                raise Invalid("is_error is true or false", field=f"{where}.is_error")
        case File():
            _check_file(part, where)
        case Data(name, value):
            check_text(name, f"{where}.name")
            check_json(value, f"{where}.value")
        case Foreign(format_, item):
            check_text(format_, f"{where}.format")
            check_json(item, f"{where}.item", surrogates=True)


def _check_file(part: File, where: str) -> None:
    check_text(part.media_type, f"{where}.media_type")
    check_json([part.url, part.sha256, part.name], where)
    if (part.url is None) == (part.sha256 is None):
        raise Invalid("a file has either a url or a sha256", field=where)
    if part.sha256 is not None and not _SHA256.fullmatch(part.sha256):
        raise Invalid("sha256 is 64 lower-case hex digits", field=f"{where}.sha256")
