"""Sessions: create, list, get, change, delete, restore."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from chatkeep.api.bodies import loads
from chatkeep.api.encoding import Json, etag, listed, messages_json, session_json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked, Caller
from chatkeep.api.params import Cursor, IdempotencyKey, IfMatch, Limit, SessionId, expected_revision
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import sessions as schemas
from chatkeep.api.schemas.basics import Removed
from chatkeep.domain.errors import Invalid
from chatkeep.domain.ids import new_id
from chatkeep.domain.messages import JsonValue
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.sessions import Session, SessionPatch, SessionState
from chatkeep.services.lines import lines_of

MAX_FILTERS = 8
MAX_FILTER_CHARS = 512

router = APIRouter(prefix="/v1/apps/{app}", tags=["sessions"], route_class=StrictRoute)


Permanent = Annotated[bool, Query(description="Remove it for good, trashed or not; the answer is a receipt.")]


def told(caller: Caller, session: Session, status: int = 200) -> Json:
    """Return a session with its ETag; a new one with its place."""
    headers = {"ETag": etag(session)}
    if status == 201:  # noqa: PLR2004 -- Created
        headers["Location"] = f"{caller.url}/sessions/{session.id}"
    return Json(session_json(session, caller.app), status, headers)


@router.get(
    "/sessions/new",
    operation_id="newSessionId",
    summary="Get an unused id",
    response_model=schemas.UnusedId,
    responses=problems(),
)
async def new_session_id(caller: Asked) -> Response:  # noqa: ARG001 -- checks the path and who is asking
    """The id is random; nothing is stored, and using it is optional."""
    return Json({"id": new_id()})


@router.post(
    "/sessions",
    operation_id="createSession",
    summary="Create a session",
    status_code=201,
    response_model=schemas.Session,
    responses={200: {"description": "A repeat: the session as it is now.", "model": schemas.Session}, **problems(409)},
)
async def create_session(
    caller: Asked, body: schemas.NewSession | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """An id of the caller's own is used within its scope; one that is taken is 409 `session_exists`."""
    wanted = body or schemas.NewSession()
    session, created = await caller.keeping.sessions.create_once(
        caller.scope,
        wanted.id,
        idempotency_key=idempotency_key,
        title=wanted.title,
        state=wanted.state,
        metadata=wanted.metadata,
    )
    if created:
        caller.house.metrics.sessions_created.inc()
    return told(caller, session, 201 if created else 200)


@router.get(
    "/sessions",
    operation_id="listSessions",
    summary="List sessions",
    response_model=schemas.SessionList,
    responses=problems(),
    openapi_extra={
        "parameters": [
            {
                "name": "metadata.KEY",
                "in": "query",
                "required": False,
                "description": "Only sessions whose metadata has this value under KEY. What reads as JSON is taken as "
                'JSON (`3`, `true`, `"3"`), anything else as text. At most 8 of these.',
                "schema": {"type": "string", "maxLength": MAX_FILTER_CHARS},
            }
        ]
    },
)
async def list_sessions(
    caller: Asked,
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[
        SessionState | None, Query(description="Only this state; else active, pinned and unpinned.")
    ] = None,
    include_archived: Annotated[bool | None, Query(description="Archived ones as well.")] = None,
) -> Response:
    """Pinned first, then newest activity first. A page with a metadata filter may be short and yet go on."""
    given: dict[str, Any] = {
        "state": state,
        "include_archived": include_archived,
        "metadata": _metadata(request) or None,
    }
    after = None
    if cursor is not None:
        position, given = caller.house.cursors.open(cursor, caller.scope, "sessions", given)
        after = SessionPosition(*position)
    where = SessionFilter(
        state=given["state"],
        include_archived=bool(given["include_archived"]),
        metadata=tuple((key, value) for key, value in given["metadata"] or ()),
    )
    page = await caller.keeping.sessions.list(caller.scope, where, limit=limit, after=after)
    following = None
    if page.next is not None:
        position = [page.next.pinned, page.next.modified_at_ms, page.next.id]
        following = caller.house.cursors.seal(caller.scope, "sessions", given, position)
    return listed([session_json(session, caller.app) for session in page.items], following)


def _metadata(request: Request) -> list[list[JsonValue]]:
    filters = [
        (name.removeprefix("metadata."), value)
        for name, value in request.query_params.multi_items()
        if name.startswith("metadata.")
    ]
    if len(filters) > MAX_FILTERS or any(len(key) + len(value) > MAX_FILTER_CHARS for key, value in filters):
        raise Invalid(f"at most {MAX_FILTERS} metadata filters of {MAX_FILTER_CHARS} characters", field="metadata")
    return [[key, _value(value)] for key, value in sorted(filters)]


def _value(text: str) -> JsonValue:
    try:
        return loads(text)
    except Invalid:
        return text


@router.get(
    "/sessions/{session_id:not_new}",
    operation_id="getSession",
    summary="Get a session",
    response_model=schemas.SessionWithMessages,
    response_model_exclude_none=True,
    responses=problems(404),
)
async def get_session(
    caller: Asked,
    session_id: SessionId,
    include: Annotated[Literal["messages"] | None, Query(description="Its newest 50 messages, ascending.")] = None,
) -> Response:
    """One in the trash is not found; `state=trashed` lists those."""
    session = await caller.keeping.sessions.get(caller.scope, session_id)
    if include is None:
        return told(caller, session)
    # Not before the session: who goes on behind the `last_seq` that it shows must not miss a message.
    newest, written = await asyncio.gather(
        caller.keeping.history.read(caller.scope, session_id),
        caller.keeping.history.written_lines(caller.scope, session_id),
    )
    messages = messages_json(reversed(newest), session, lines_of(newest, written))
    return Json({**session_json(session, caller.app), "messages": messages}, headers={"ETag": etag(session)})


@router.put(
    "/sessions/{session_id:not_new}",
    operation_id="ensureSession",
    summary="Ensure that a session exists",
    response_model=schemas.Session,
    responses={201: {"description": "It did not exist.", "model": schemas.Session}, **problems(409)},
)
async def ensure_session(caller: Asked, session_id: SessionId, body: schemas.EnsuredSession | None = None) -> Response:
    """A session that exists is returned as it is."""
    wanted = body or schemas.EnsuredSession()
    session, created = await caller.keeping.sessions.ensure(
        caller.scope, session_id, title=wanted.title, metadata=wanted.metadata
    )
    if created:
        caller.house.metrics.sessions_created.inc()
    return told(caller, session, 201 if created else 200)


@router.patch(
    "/sessions/{session_id:not_new}",
    operation_id="updateSession",
    summary="Change a session",
    response_model=schemas.Session,
    responses=problems(404, 409, 412),
)
async def update_session(
    caller: Asked, session_id: SessionId, body: schemas.SessionChange, if_match: IfMatch = None
) -> Response:
    """Title, state, metadata. With If-Match only if nobody has changed the settings since."""
    expected = await _expected(caller, session_id, if_match)
    patch = SessionPatch(title=body.title, state=body.state, metadata=body.metadata)
    return told(
        caller,
        await caller.keeping.sessions.update(caller.scope, session_id, patch, expected_revision=expected),
    )


async def _expected(caller: Caller, session_id: str, if_match: str | None) -> int | None:
    if if_match is None:
        return None
    session = await caller.keeping.sessions.get(caller.scope, session_id, include_trashed=True)
    return expected_revision(if_match, session)


@router.delete(
    "/sessions/{session_id:not_new}",
    operation_id="deleteSession",
    summary="Delete a session",
    response_model=schemas.Session | Removed,
    responses=problems(404, 412),
)
async def delete_session(
    caller: Asked,
    session_id: SessionId,
    permanent: Permanent = False,  # noqa: FBT002 -- a query parameter
    if_match: IfMatch = None,
) -> Response:
    """Into the trash, from where it can be restored for some days, or for good. If-Match is checked beforehand."""
    await _expected(caller, session_id, if_match)
    if permanent:
        receipt = await caller.keeping.sessions.purge(caller.scope, session_id)
        return Json({"removed": receipt.removed})
    return told(caller, await caller.keeping.sessions.delete(caller.scope, session_id))


@router.post(
    "/sessions/{session_id}/restore",
    operation_id="restoreSession",
    summary="Take a session out of the trash",
    response_model=schemas.Session,
    responses=problems(404),
)
async def restore_session(caller: Asked, session_id: SessionId) -> Response:
    """A live session is returned as it is."""
    return told(caller, await caller.keeping.sessions.restore(caller.scope, session_id))
