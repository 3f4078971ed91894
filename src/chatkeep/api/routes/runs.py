"""Runs: look at one, follow it, stop it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from chatkeep.api.encoding import Json, run_json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import MAX_SEQ, RunId
from chatkeep.api.routes.chat import EVENTS
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import chat as schemas
from chatkeep.api.sse import EventStream

router = APIRouter(prefix="/v1/apps/{app}", tags=["runs"], route_class=StrictRoute)

Number = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="As Last-Event-ID, which wins.")]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=MAX_SEQ, description="The id of the last event that was received."),
]


@router.get(
    "/runs/{run_id}", operation_id="getRun", summary="Get a run", response_model=schemas.Run, responses=problems(404)
)
async def get_run(caller: Asked, run_id: RunId) -> Response:
    """Its status, and the answer's seq once it is stored."""
    return Json(run_json(await caller.application.chat.get(caller.scope, run_id)))


@router.get(
    "/runs/{run_id}/events",
    operation_id="followRun",
    summary="Follow a run",
    status_code=200,
    response_class=EventStream,
    responses={200: EVENTS, **problems(404)},
)
async def follow_run(caller: Asked, run_id: RunId, after: Number = None, last_event_id: LastEventId = None) -> Response:
    """Every event from the first one, or from behind the given one, and on until `done`; on any worker."""
    await caller.application.chat.get(caller.scope, run_id)
    begin = after if last_event_id is None else last_event_id
    events = caller.application.chat.follow(caller.scope, run_id, after=begin or 0)
    return EventStream(events, caller.house.closing, {"Chatkeep-Run-Id": run_id})


@router.post(
    "/runs/{run_id}/cancel",
    operation_id="cancelRun",
    summary="Stop a run",
    response_model=schemas.Run,
    responses=problems(404),
)
async def cancel_run(caller: Asked, run_id: RunId) -> Response:
    """What was said so far is kept. The run ends shortly after; one that is over stays as it is."""
    return Json(run_json(await caller.application.chat.cancel(caller.scope, run_id)))
