"""Messages: read, append, take back, redact, rate."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from chatkeep.api.encoding import Json, listed, message_json, messages_json, session_json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.params import Bound, Cursor, IdempotencyKey, Limit, MessageSeq, SessionId
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import messages as schemas
from chatkeep.api.schemas.sessions import Session as SessionSchema
from chatkeep.domain.messages import Feedback
from chatkeep.services.lines import lines_of
from chatkeep.services.mine import MinePosition

router = APIRouter(prefix="/v1/apps/{app}", tags=["messages"], route_class=StrictRoute)


@router.get(
    "/sessions/{session_id}/messages",
    operation_id="listMessages",
    summary="Read messages",
    response_model=schemas.MessageList,
    response_model_exclude_none=True,
    responses=problems(404),
)
async def list_messages(
    caller: Asked,
    session_id: SessionId,
    limit: Limit = 50,
    cursor: Cursor = None,
    before_seq: Bound = None,
    after_seq: Bound = None,
    order: Annotated[Literal["asc", "desc"] | None, Query(description="`asc` by default.")] = None,
    path: Annotated[
        Literal["active", "all"] | None, Query(description="The active path (default), or every branch.")
    ] = None,
) -> Response:
    """Without parameters the newest ones, ascending; the cursor then leads to older ones. With `after_seq` and
    ascending order the page begins right behind it, and the cursor leads to newer ones.
    """
    given: dict[str, Any] = {
        "session": session_id,
        "before": before_seq,
        "after": after_seq,
        "order": order,
        "path": path,
    }
    begin = None
    if cursor is not None:
        position, given = caller.house.cursors.open(cursor, caller.scope, "messages", given)
        begin = int(position[0])
    descending = given["order"] == "desc"
    forward = given["after"] is not None and not descending
    after = begin if forward and begin is not None else given["after"]
    before = begin if not forward and begin is not None else given["before"]
    with caller.house.metrics.history_seconds.time():
        session, read, written = await asyncio.gather(
            caller.keeping.sessions.get(caller.scope, session_id),
            caller.keeping.history.read(
                caller.scope,
                session_id,
                after_seq=after or 0,
                before_seq=before,
                limit=limit + 1,
                newest_first=not forward,
                path=given["path"] or "active",
            ),
            caller.keeping.history.written_lines(caller.scope, session_id),
        )
    caller.house.metrics.history_retrieved.inc()
    page = list(read[:limit])
    following = None
    if len(read) > limit:
        following = caller.house.cursors.seal(caller.scope, "messages", given, [page[-1].seq])
    shown = page if forward or descending else reversed(page)
    return listed(messages_json(shown, session, lines_of(read, written)), following)


@router.post(
    "/sessions/{session_id}/messages",
    operation_id="appendMessages",
    summary="Append messages",
    status_code=201,
    response_model=schemas.MessageList,
    response_model_exclude_none=True,
    responses={
        200: {"description": "A repeat: the messages as they are now.", "model": schemas.MessageList},
        **problems(404, 409),
    },
)
async def append_messages(
    caller: Asked, session_id: SessionId, body: schemas.Appending, idempotency_key: IdempotencyKey = None
) -> Response:
    """All or nothing: up to 100 messages, or a question with its answer, behind the head or behind `parent_seq`."""
    stored = await caller.keeping.history.append(
        caller.scope,
        session_id,
        body.to_domain(),
        idempotency_key=idempotency_key,
        expected_last_seq=body.expected_last_seq,
        parent_seq=body.parent_seq,
    )
    if not stored.repeated:
        caller.house.metrics.messages_saved.labels("append").inc(len(stored.messages))
    items = messages_json(stored.messages, stored.session)
    return Json({"items": items, "next_cursor": None}, 200 if stored.repeated else 201)


@router.delete(
    "/sessions/{session_id}/messages",
    operation_id="clearMessages",
    summary="Remove all messages of a session",
    response_model=SessionSchema,
    responses=problems(404, 409),
)
async def clear_messages(caller: Asked, session_id: SessionId) -> Response:
    """Of all branches. The session stays, and seqs go on from where they were."""
    session = await caller.keeping.history.clear(caller.scope, session_id)
    return Json(session_json(session, caller.app))


@router.post(
    "/sessions/{session_id}/messages/pop",
    operation_id="popMessages",
    summary="Take back the last message or turn",
    response_model=schemas.MessageList,
    response_model_exclude_none=True,
    responses=problems(404, 409),
)
async def pop_messages(caller: Asked, session_id: SessionId, body: schemas.Popping | None = None) -> Response:
    """The messages leave the active path and are returned, ascending; an empty path gives none."""
    history = caller.keeping.history
    if body is not None and body.turn:
        return listed([message_json(message) for message in await history.pop_turn(caller.scope, session_id)])
    last = await history.pop(caller.scope, session_id)
    return listed([] if last is None else [message_json(last)])


@router.get(
    "/sessions/{session_id}/messages/{seq:not_pop}",
    operation_id="getMessage",
    summary="Get a message",
    response_model=schemas.Entry,
    response_model_exclude_none=True,
    responses=problems(404),
)
async def get_message(caller: Asked, session_id: SessionId, seq: MessageSeq) -> Response:
    """Of any branch."""
    session, (entry, lines) = await asyncio.gather(
        caller.keeping.sessions.get(caller.scope, session_id),
        caller.keeping.history.get_with_line(caller.scope, session_id, seq),
    )
    return Json(messages_json([entry], session, lines)[0])


@router.delete(
    "/sessions/{session_id}/messages/{seq:not_pop}",
    operation_id="redactMessage",
    summary="Redact a message",
    response_model=schemas.Message,
    response_model_exclude_none=True,
    responses=problems(404, 409),
)
async def redact_message(caller: Asked, session_id: SessionId, seq: MessageSeq) -> Response:
    """Its content is gone for good; its place, role and time stay."""
    return Json(message_json(await caller.keeping.history.redact(caller.scope, session_id, seq)))


@router.put(
    "/sessions/{session_id}/messages/{seq}/feedback",
    operation_id="rateMessage",
    summary="Rate a message",
    response_model=schemas.Message,
    response_model_exclude_none=True,
    responses=problems(404, 409),
)
async def rate_message(
    caller: Asked, session_id: SessionId, seq: MessageSeq, body: Annotated[schemas.Feedback, Body()]
) -> Response:
    """Replaces what was said before."""
    given = body.rating is not None or body.comment is not None
    feedback = Feedback(body.rating, body.comment) if given else None
    return Json(message_json(await caller.keeping.history.rate(caller.scope, session_id, seq, feedback)))


@router.get(
    "/messages",
    operation_id="listMyMessages",
    summary="List messages of all sessions",
    response_model=schemas.MyMessageList,
    response_model_exclude_none=True,
    responses=problems(),
)
async def list_my_messages(
    caller: Asked,
    limit: Limit = 50,
    cursor: Cursor = None,
    role: Annotated[schemas.Role | None, Query(description="Only messages of this role.")] = None,
) -> Response:
    """Of the active paths, newest first. A page with a role may be short and yet go on."""
    given: dict[str, Any] = {"role": role}
    after = None
    if cursor is not None:
        position, given = caller.house.cursors.open(cursor, caller.scope, "mine", given)
        after = MinePosition(*position)
    page = await caller.keeping.mine.messages(caller.scope, limit=limit, after=after, role=given["role"])
    following = None
    if page.next is not None:
        position = [page.next.at_us, page.next.session_id, page.next.seq]
        following = caller.house.cursors.seal(caller.scope, "mine", given, position)
    items = [{**message_json(message), "session_id": session.id} for session, message in page.items]
    return listed(items, following)
