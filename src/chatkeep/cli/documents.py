"""The JSON of `--json`: that of the HTTP API, whose encoding is imported when it is needed."""

from __future__ import annotations

from chatkeep.domain.messages import JsonValue, Message, Unreadable
from chatkeep.domain.pages import Hit
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.services.context import Explained
from chatkeep.services.live import StreamEvent

Document = dict[str, JsonValue]


def session_json(scope: Scope, session: Session) -> Document:
    """Return a session; one in the trash says until when it can be restored."""
    from chatkeep.api import encoding  # noqa: PLC0415 -- it needs the web framework, and `--help` does not

    found = encoding.session_json(session, scope.app)
    if session.trash_until is not None:
        found["trash_until"] = encoding.moment(session.trash_until)
    return found


def message_json(entry: Message | Unreadable) -> Document:
    """Return a message, or what stands in the place of one that cannot be read."""
    from chatkeep.api import encoding  # noqa: PLC0415 -- as above

    return encoding.message_json(entry)


def hit_json(hit: Hit) -> Document:
    """Return a result of a search; `seq` null: the title matched."""
    from chatkeep.api import encoding  # noqa: PLC0415 -- as above

    return encoding.hit_json(hit)


def event_json(event: StreamEvent) -> Document:
    """Return an event of an answer; `n` null: text that was not stored yet when it was sent."""
    return {"n": event.n, "event": event.type, "data": event.data}


def context_json(explained: Explained) -> Document:
    """Return a context, with what became of each message."""
    from chatkeep.api import encoding  # noqa: PLC0415 -- as above

    return encoding.context_json(explained)
