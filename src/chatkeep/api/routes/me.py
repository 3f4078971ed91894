"""What is the caller's own, as a whole: erase it, and hear of changes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from chatkeep.api.bodies import StrictRoute
from chatkeep.api.encoding import Json
from chatkeep.api.errors import problems
from chatkeep.api.feeds import FeedStream, changes
from chatkeep.api.house import Asked
from chatkeep.api.schemas.basics import Removed
from chatkeep.api.sse import described

router = APIRouter(prefix="/v1/apps/{app}", tags=["me"], route_class=StrictRoute)


@router.delete(
    "/me", operation_id="eraseMe", summary="Erase all that is mine", response_model=Removed, responses=problems()
)
async def erase_me(caller: Asked) -> Response:
    """Every session of the caller in this app, for good, with a receipt."""
    receipt = await caller.keeping.sessions.erase(caller.scope)
    return Json({"removed": receipt.removed})


@router.get(
    "/events",
    operation_id="followChanges",
    summary="Hear of changes",
    status_code=200,
    response_class=FeedStream,
    responses={
        200: {
            "description": "Server-sent events: `hello` with a `version`, then `change` with the next one whenever "
            "something of the caller's changed: fetch again.",
            "content": {"text/event-stream": {"schema": described("hello", "change")}},
        },
        **problems(),
    },
)
async def follow_changes(caller: Asked) -> Response:
    """The first event, `hello`, tells the present version. The number of open feeds is bounded (503)."""
    return FeedStream(caller.house, changes(caller))
