"""Branches: choose one, or take one out as a session of its own."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import IdempotencyKey, SessionId
from chatkeep.api.routes.sessions import told
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import sessions as schemas

router = APIRouter(prefix="/v1/apps/{app}", tags=["branches"], route_class=StrictRoute)


@router.put(
    "/sessions/{session_id}/head",
    operation_id="selectHead",
    summary="Switch the branch",
    response_model=schemas.Session,
    responses=problems(404, 409),
)
async def select_head(caller: Asked, session_id: SessionId, body: schemas.Head) -> Response:
    """The active path now ends at that message, or where its branch does. Nothing is removed."""
    session = await caller.keeping.history.select(
        caller.scope,
        session_id,
        body.seq,
        expected_last_seq=body.expected_last_seq,
        whole_branch=body.whole_branch,
    )
    return told(caller, session)


@router.post(
    "/sessions/{session_id}/fork",
    operation_id="forkSession",
    summary="Fork a session",
    status_code=201,
    response_model=schemas.Session,
    responses={
        200: {"description": "A repeat: the fork as it is now.", "model": schemas.Session},
        **problems(404, 409),
    },
)
async def fork_session(
    caller: Asked, session_id: SessionId, body: schemas.Fork | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """The active path up to `at_seq` becomes a new session, whose metadata tells where it comes from."""
    wanted = body or schemas.Fork()
    session, made = await caller.keeping.fork.fork_once(
        caller.scope,
        session_id,
        at_seq=wanted.at_seq,
        new_id=wanted.new_id,
        title=wanted.title,
        idempotency_key=idempotency_key,
    )
    if made:
        caller.house.metrics.sessions_created.inc()
    return told(caller, session, 201 if made else 200)
