"""Records as JSON, and keys in the order of bytes, for engines that keep both as they are."""

from __future__ import annotations

import json
from typing import Any

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.messages import from_us, to_us
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionState, dump

STATE_LETTERS: dict[SessionState, bytes] = {
    "pinned": b"P",
    "active": b"A",
    "unpinned": b"U",
    "archived": b"R",
    "trashed": b"T",
}

_MS_OFFSET = 2**62
_NUMBER_BYTES = 8
_SCOPE_FIELDS = 3


def number(value: int) -> bytes:
    """Return 8 bytes that sort as the numbers from 0 on do."""
    return value.to_bytes(_NUMBER_BYTES, "big")


def moment(milliseconds: int) -> bytes:
    """Return 8 bytes that sort as milliseconds do, also those before 1970."""
    return number(milliseconds + _MS_OFFSET)


def place(session: Session) -> bytes:
    """Return the place of a session among those of its state, in ascending order."""
    return moment(session.modified_at_ms) + session.id.encode()


def placed_at(at: bytes) -> tuple[int, str]:
    """Return the time (ms) and the id that `place` encoded."""
    return int.from_bytes(at[:_NUMBER_BYTES], "big") - _MS_OFFSET, at[_NUMBER_BYTES:].decode()


def scope_key(scope: Scope) -> bytes:
    """Return the fields of a scope, each with its length in front."""
    fields = (scope.tenant.encode(), scope.app.encode(), scope.user.encode())
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def scope_of(key: bytes) -> Scope:
    """Return the scope that `scope_key` encoded."""
    return scope_and_rest(key)[0]


def scope_and_rest(key: bytes) -> tuple[Scope, bytes]:
    """Return the scope that `scope_key` encoded at the beginning, and what follows."""
    fields: list[str] = []
    at = 0
    for _ in range(_SCOPE_FIELDS):
        size = int.from_bytes(key[at : at + 2], "big")
        fields.append(key[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return Scope(*fields), key[at:]


def session_to_json(session: Session) -> str:
    """Return the stored text of a record."""
    return dump(session._asdict())


def session_from_json(text: str | bytes) -> Session:
    """Return the record of a stored text. Raises CorruptRecord."""
    try:
        return Session(**json.loads(text if isinstance(text, str) else text.decode()))
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"a session's record cannot be decoded: {error!r}") from error


def run_to_fields(run: Run) -> dict[str, Any]:
    """Return what is stored of a run, as a JSON object; its id, incarnation and request are not in it."""
    return {
        "session_id": run.session_id,
        "claimant": run.claimant,
        "status": run.status,
        "digest": run.digest.hex(),
        "created_us": to_us(run.created_at),
        "finished_us": None if run.finished_at is None else to_us(run.finished_at),
        "token": run.token,
        "lease_us": to_us(run.lease_until),
        "cancel": run.cancel_requested,
        "message_seq": run.message_seq,
        "error": run.error,
        "last_event": run.last_event,
    }


def run_from_fields(run_id: str, incarnation: str, request: str, fields: dict[str, Any]) -> Run:
    """Return the run of a stored object. Raises KeyError, TypeError or ValueError if it is none."""
    finished = fields["finished_us"]
    return Run(
        id=run_id,
        session_id=fields["session_id"],
        incarnation=incarnation,
        claimant=fields["claimant"],
        status=fields["status"],
        request=request,
        digest=bytes.fromhex(fields["digest"]),
        created_at=from_us(fields["created_us"]),
        finished_at=None if finished is None else from_us(finished),
        token=fields["token"],
        lease_until=from_us(fields["lease_us"]),
        cancel_requested=fields["cancel"],
        message_seq=fields["message_seq"],
        error=fields["error"],
        last_event=fields["last_event"],
    )
