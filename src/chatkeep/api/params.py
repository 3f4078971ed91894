"""Parameters that several routes share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import AfterValidator
from starlette.convertors import Convertor, register_url_convertor

from chatkeep.api.house import ID_PATTERN
from chatkeep.domain.errors import Invalid, RevisionConflict
from chatkeep.domain.sessions import Session

MAX_SEQ = 2**53 - 1
RESERVED_IDS = frozenset(("new", ".", ".."))
OWN_KEYS = ("run/", "import/", "fork/")
"""Idempotency keys that begin so are given by Chatkeep itself."""

_IF_MATCH = r'^ *(\*|(W/)?"[^"]*"( *, *(W/)?"[^"]*")*) *$'
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_OWN_TAG = re.compile(r"(\d{1,15})\.\d{1,16}")


class _NotNew(Convertor[str]):
    """The last step of a path, but not that of `/sessions/new`, so that a wrong method there is 405."""

    regex = "(?!new$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _NotPop(_NotNew):
    """The same for `/messages/pop`."""

    regex = "(?!pop$)[^/]+"


register_url_convertor("not_new", _NotNew())
register_url_convertor("not_pop", _NotPop())


def usable_id(value: str) -> str:
    """Return an id that a path can hold. Raises ValueError."""
    if value in RESERVED_IDS:
        raise ValueError(f"{value!r} is reserved")
    return value


def usable_key(value: str) -> str:
    """Return an idempotency key of the caller's. Raises ValueError."""
    if value.startswith(OWN_KEYS):
        raise ValueError(f"keys that begin with {', '.join(OWN_KEYS)} are reserved")
    return value


SessionId = Annotated[str, Path(pattern=ID_PATTERN, description="The session's id."), AfterValidator(usable_id)]
RunId = Annotated[str, Path(pattern=ID_PATTERN, description="The run's id.")]
MessageSeq = Annotated[int, Path(ge=1, le=MAX_SEQ, description="The message's seq.")]
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many items.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=8_192, description="`next_cursor` of the page before; filters may be left out."),
]
Bound = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="Exclusive.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~][ -~]{0,254}$",
        description="Makes the request repeatable: the same key and body give the first result, another body is 409.",
    ),
    AfterValidator(usable_key),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1_000,
        json_schema_extra={"pattern": _IF_MATCH},
        description="ETags of the session, or `*`; the revision in them is compared, a weak one as well.",
    ),
]


def expected_revision(if_match: str | None, session: Session) -> int | None:
    """Return the revision that If-Match asks for; None when there is none to compare. Raises RevisionConflict when it
    names revisions that the session does not have, Invalid when it is malformed.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = _tags(if_match)
    revisions = [int(own[1]) for own in map(_OWN_TAG.fullmatch, tags) if own]
    if session.revision not in revisions:
        raise RevisionConflict(expected=revisions[0] if revisions else 0, current=session.revision)
    return session.revision


def _tags(header: str) -> Sequence[str]:
    found = [_TAG.fullmatch(piece.strip()) for piece in header.split(",")]
    if not all(found):
        raise Invalid("If-Match is a list of entity tags in quotes, or *", field="If-Match")
    return [tag[1] for tag in found if tag]
