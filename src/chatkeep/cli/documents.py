"""The JSON of `--json`: the names that the HTTP API uses."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from chatkeep.domain.messages import JsonValue, Message, Unreadable, from_us
from chatkeep.domain.pages import Hit
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.domain.wire import part_to_json
from chatkeep.services.live import StreamEvent

Document = dict[str, JsonValue]


def moment_json(moment: datetime | None, *, timespec: str = "milliseconds") -> str | None:
    """Return RFC 3339 in UTC."""
    return None if moment is None else moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def session_json(scope: Scope, session: Session) -> Document:
    """Return a session."""
    found: Document = {
        "id": session.id,
        "app": scope.app,
        "title": session.title,
        "title_source": session.title_source,
        "state": session.state,
        "pinned_at": moment_json(session.pinned_at),
        "created_at": moment_json(session.created_at),
        "modified_at": moment_json(session.modified_at),
        "expires_at": moment_json(session.expires_at),
        "message_count": session.message_count,
        "last_seq": session.last_seq,
        "head_seq": session.head_seq,
        "active_run_id": session.active_run_id,
        "revision": session.revision,
        "metadata": session.metadata,
    }
    if session.state == "trashed":
        found["trash_until"] = moment_json(session.trash_until)
    return found


def message_json(entry: Message | Unreadable) -> Document:
    """Return a message, or what stands in the place of one that cannot be read."""
    if isinstance(entry, Unreadable):
        return {"seq": entry.seq, "unreadable": True, "reason": entry.reason}
    content = entry.content
    return {
        "id": entry.id,
        "seq": entry.seq,
        "parent_seq": entry.parent_seq,
        "role": entry.role,
        "parts": [part_to_json(part) for part in content.parts],
        "status": entry.status,
        "created_at": moment_json(entry.created_at, timespec="microseconds"),
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


def hit_json(hit: Hit) -> Document:
    """Return a result of a search; `seq` null: the title matched."""
    return {
        "session_id": hit.session.id,
        "title": hit.session.title,
        "state": hit.session.state,
        "seq": hit.seq,
        "snippet": hit.snippet,
        "highlights": [list(place) for place in hit.highlights],
        "at": moment_json(from_us(hit.at_us), timespec="microseconds"),
    }


def event_json(event: StreamEvent) -> Document:
    """Return an event of an answer; `n` null: text that was not stored yet when it was sent."""
    return {"n": event.n, "event": event.type, "data": event.data}
