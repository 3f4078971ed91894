"""Domain values as the JSON that goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response
from typing_extensions import override

from chatkeep.domain.agents import Agent, AgentToggle
from chatkeep.domain.messages import Content, Message, Unreadable
from chatkeep.domain.pages import Hit
from chatkeep.domain.paths import Families
from chatkeep.domain.reports import Covered
from chatkeep.domain.runs import Run
from chatkeep.domain.sessions import Session
from chatkeep.domain.summaries import Segment
from chatkeep.domain.wire import part_to_json
from chatkeep.services.context import Explained

Fields = dict[str, Any]

_FIRST_DAY = date(1970, 1, 1)
_NOTHING_BESIDE = Content()
"""What a message is but its text, where that is all."""


class Json(Response):
    """A JSON answer. Values of other systems may hold lone surrogates: such an answer is written in ASCII."""

    media_type = "application/json"

    @staticmethod
    def dump(value: object) -> bytes:
        """Return the JSON text of a value, in UTF-8."""
        try:
            return to_json(value, inf_nan_mode="null")
        except PydanticSerializationError:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

    @override
    def render(self, content: object) -> bytes:
        return self.dump(content)


def moment(at: datetime | None) -> str | None:
    """Return a time in RFC 3339, in UTC and milliseconds."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment_us(at_us: int) -> str:
    """Return microseconds since 1970 as a time in RFC 3339, in UTC and microseconds."""
    days, within = divmod(at_us, 86_400_000_000)
    seconds, fraction = divmod(within, 1_000_000)
    minutes, second = divmod(seconds, 60)
    return f"{_day(days)}T{minutes // 60:02}:{minutes % 60:02}:{second:02}.{fraction:06}Z"


@lru_cache(maxsize=1_024)
def _day(days: int) -> str:
    return (_FIRST_DAY + timedelta(days)).isoformat()


def etag(session: Session) -> str:
    """Return the entity tag of a session."""
    return f'"{session.revision}.{session.last_seq}"'


def session_json(session: Session, app: str) -> Fields:
    """Return a session."""
    return {
        "id": session.id,
        "app": app,
        "title": session.title,
        "title_source": session.title_source,
        "state": session.state,
        "pinned_at": moment(session.pinned_at),
        "created_at": moment(session.created_at),
        "modified_at": moment(session.modified_at),
        "expires_at": moment(session.expires_at),
        "message_count": session.message_count,
        "last_seq": session.last_seq,
        "head_seq": session.head_seq,
        "active_run_id": session.active_run_id,
        "revision": session.revision,
        "metadata": session.metadata,
    }


def message_json(entry: Message | Unreadable) -> Fields:
    """Return a message, or what stands in the place of one that cannot be read."""
    if isinstance(entry, Unreadable):
        return {"seq": entry.seq, "unreadable": True, "reason": entry.reason}
    text = entry.plain_text
    content = entry.content if text is None else _NOTHING_BESIDE
    return {
        "id": entry.id,
        "seq": entry.seq,
        "parent_seq": entry.parent_seq,
        "role": entry.role,
        "parts": [part_to_json(part) for part in content.parts] if text is None else [{"type": "text", "text": text}],
        "status": entry.status,
        "created_at": _moment_us(entry.created_at_us),
        "agent_name": content.agent_name,
        "model": content.model,
        "finish_reason": content.finish_reason,
        "usage": None if content.usage is None else asdict(content.usage),
        "duration_ms": content.duration_ms,
        "sources": [asdict(source) for source in content.sources],
        "suggestions": list(content.suggestions),
        "query_summary": content.query_summary,
        "run_id": content.run_id,
        "error": content.error,
        "feedback": None if entry.feedback is None else asdict(entry.feedback),
        "redacted": entry.redacted,
        "metadata": content.metadata,
    }


def messages_json(
    entries: Iterable[Message | Unreadable], session: Session, lines: Mapping[int, str] = MappingProxyType({})
) -> list[Fields]:
    """Return messages with what is known of each beside it: its siblings when there are several, the line about its
    turn.
    """
    told = [message_json(entry) for entry in entries]
    families = Families(session.jumps, first_seq=session.first_seq, last_seq=session.last_seq)
    for fields in told:
        seq = fields["seq"]
        beside = families.siblings(seq)
        if len(beside) > 1:
            fields["siblings"] = list(beside)
        if seq in lines:
            fields["query_summary"] = lines[seq]
    return told


def run_json(run: Run) -> Fields:
    """Return a run."""
    return {
        "id": run.id,
        "session_id": run.session_id,
        "status": run.status,
        "created_at": moment(run.created_at),
        "finished_at": moment(run.finished_at),
        "message_seq": run.message_seq,
        "error": run.error,
    }


def context_json(explained: Explained) -> Fields:
    """Return a context, with what became of each message."""
    report = explained.prompt.report
    return {
        "messages": [
            {"role": message.role, "parts": [part_to_json(part) for part in message.parts]}
            for message in explained.prompt.messages
        ],
        **{name: value for name, value in report.to_json().items() if name not in _RANGES},
        "segments": [dict(zip(Covered._fields, one, strict=True)) for one in report.covered],
        "trace": [one._asdict() for one in explained.trace()],
    }


_RANGES = frozenset(("included", "relevant", "covered", "omitted", "shortened"))


def segment_json(segment: Segment, *, published: bool) -> Fields:
    """Return a summary."""
    return {
        "first_seq": segment.first_seq,
        "last_seq": segment.last_seq,
        "level": segment.level,
        "published": published,
        "method": segment.method,
        "model": segment.model,
        "tokens": segment.tokens,
        "source_tokens": segment.source_tokens,
        "text": segment.text,
    }


def agent_json(agent: Agent) -> Fields:
    """Return an agent, without its instructions."""
    return {"name": agent.name, "description": agent.description, "model": agent.model}


def toggle_json(toggle: AgentToggle) -> Fields:
    """Return an agent as one session sees it."""
    return {**agent_json(toggle.agent), "enabled": toggle.enabled}


def hit_json(hit: Hit) -> Fields:
    """Return one result of a search."""
    return {
        "session_id": hit.session.id,
        "title": hit.session.title,
        "state": hit.session.state,
        "seq": hit.seq,
        "snippet": hit.snippet,
        "highlights": [list(place) for place in hit.highlights],
        "at": _moment_us(hit.at_us),
    }


def listed(items: list[Fields], next_cursor: str | None = None) -> Json:
    """Return a list."""
    return Json({"items": items, "next_cursor": next_cursor})
