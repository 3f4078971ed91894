"""Search in one's own messages and titles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from chatkeep.api.encoding import hit_json, listed
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import Cursor
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import chat as schemas
from chatkeep.domain.pages import HitPosition

router = APIRouter(prefix="/v1/apps/{app}", tags=["search"], route_class=StrictRoute)


@router.get("/search", operation_id="search", summary="Search", response_model=schemas.HitList, responses=problems())
async def search(
    caller: Asked,
    q: Annotated[str, Query(min_length=1, max_length=1_000, description="1 to 16 words; the last one as a prefix.")],
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many items.")] = 20,
    cursor: Cursor = None,
) -> Response:
    """Messages and titles that hold all words, archived sessions included, newest first."""
    given = {"q": q}
    after = None
    if cursor is not None:
        position, _ = caller.house.cursors.open(cursor, caller.scope, "search", given)
        after = HitPosition(*position)
    page = await caller.keeping.search.search(caller.scope, q, limit=limit, after=after)
    following = None
    if page.next is not None:
        position = [page.next.at_us, page.next.session_id, page.next.seq]
        following = caller.house.cursors.seal(caller.scope, "search", given, position)
    return listed([hit_json(hit) for hit in page.items], following)
