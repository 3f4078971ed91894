"""What is the caller's own, as a whole: erase it, and hear of changes."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from starlette.responses import Response

from chatkeep.api.encoding import Json
from chatkeep.api.errors import problems
from chatkeep.api.feeds import FeedStream, changes
from chatkeep.api.house import Asked
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import sessions as schemas
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
    "/retention",
    operation_id="getRetention",
    summary="What is kept, and for how long",
    response_model=schemas.Retention,
    responses=problems(),
)
async def get_retention(caller: Asked) -> Response:
    """The policy of the app, as the operator has set it."""
    policy = caller.keeping.policies.of(caller.scope.app)
    return Json(
        {
            "idle_seconds": _seconds(policy.idle_ttl),
            "age_seconds": _seconds(policy.max_age),
            "messages": policy.max_messages,
            "sessions": policy.keep_last_sessions,
            "trash_seconds": _seconds(policy.trash),
        }
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


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
