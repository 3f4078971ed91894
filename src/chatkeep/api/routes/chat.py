"""Chat: in a session, in a new one, nowhere; and the branches that are answered like a chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chatkeep.api.answering import answered, wants_whole
from chatkeep.api.encoding import Json
from chatkeep.api.errors import Problem, problems
from chatkeep.api.house import Asked
from chatkeep.api.params import IdempotencyKey, MessageSeq, SessionId
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import chat as schemas
from chatkeep.api.sse import EventStream, described
from chatkeep.domain.limits import KIB
from chatkeep.services.chat import ChatRequest
from chatkeep.services.live import StreamEvent

MAX_INCOGNITO_BYTES = 5 * 1024 * KIB


class IncognitoRoute(StrictRoute):
    """Takes a whole transcript."""

    max_body_bytes = MAX_INCOGNITO_BYTES


router = APIRouter(prefix="/v1/apps/{app}", tags=["chat"], route_class=StrictRoute)
incognito = APIRouter(prefix="/v1/apps/{app}", tags=["chat"], route_class=IncognitoRoute)

EVENTS = {
    "description": "Server-sent events: `run` first, then `context`, `delta` (`text`, and `offset` in code points), "
    "`usage`, `suggestions`, `error`, `message` (the stored answer), last `done` (`durable`). Events that are stored "
    "have an id to resume behind. With `stream: false` or `Accept: application/json` one object.",
    "content": {
        "text/event-stream": {
            "schema": described("run", "context", "delta", "usage", "suggestions", "error", "message", "done"),
            "example": 'id: 1\nevent: run\ndata: {"run_id":"4xw3","session_id":"k7kt"}\n\n'
            'event: delta\ndata: {"text":"On its","offset":0}\n\n'
            'id: 5\nevent: done\ndata: {"status":"complete","message_seq":2,"durable":true}\n\n',
        }
    },
}


def _asked(body: schemas.Choices, text: str) -> ChatRequest:
    return ChatRequest(text=text, agent=body.agent, model=body.model, when_busy=body.when_busy)


@router.post(
    "/chat",
    operation_id="chatInNewSession",
    summary="Ask in a new session",
    response_model=schemas.Answer,
    responses={200: EVENTS, **problems(404, 409, 502)},
)
async def chat_in_new_session(
    caller: Asked, request: Request, body: schemas.Chat, idempotency_key: IdempotencyKey = None
) -> Response:
    """The session gets an id of the server's; the first event tells it."""
    run = await caller.application.chat.chat(
        caller.scope, None, _asked(body, body.message), idempotency_key=idempotency_key
    )
    caller.house.metrics.chats.labels("new").inc()
    return await answered(caller, request, run, stream=body.stream)


@router.post(
    "/sessions/{session_id}/chat",
    operation_id="chat",
    summary="Ask in a session",
    response_model=schemas.Answer,
    responses={200: EVENTS, **problems(404, 409, 502)},
)
async def chat(
    caller: Asked, request: Request, session_id: SessionId, body: schemas.Chat, idempotency_key: IdempotencyKey = None
) -> Response:
    """A session that does not exist yet is created. The answer goes on when the connection ends."""
    run = await caller.application.chat.chat(
        caller.scope, session_id, _asked(body, body.message), idempotency_key=idempotency_key
    )
    caller.house.metrics.chats.labels("session").inc()
    return await answered(caller, request, run, stream=body.stream)


@router.post(
    "/sessions/{session_id}/messages/{seq}/edit",
    operation_id="editMessage",
    summary="Ask with another wording",
    response_model=schemas.Answer,
    responses={200: EVENTS, **problems(404, 409, 502)},
)
async def edit_message(
    caller: Asked,
    request: Request,
    session_id: SessionId,
    seq: MessageSeq,
    body: schemas.Chat,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The new wording of a user message begins a branch beside the old one."""
    run = await caller.application.chat.edit(
        caller.scope, session_id, seq, _asked(body, body.message), idempotency_key=idempotency_key
    )
    caller.house.metrics.chats.labels("edit").inc()
    return await answered(caller, request, run, stream=body.stream)


@router.post(
    "/sessions/{session_id}/messages/{seq}/regenerate",
    operation_id="regenerateMessage",
    summary="Answer again",
    response_model=schemas.Answer,
    responses={200: EVENTS, **problems(404, 409, 502)},
)
async def regenerate_message(
    caller: Asked,
    request: Request,
    session_id: SessionId,
    seq: MessageSeq,
    body: schemas.Choices | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Another answer to the question that the message answers (or is), on a branch beside the first one."""
    wanted = body or schemas.Choices()
    run = await caller.application.chat.regenerate(
        caller.scope, session_id, seq, _asked(wanted, ""), idempotency_key=idempotency_key
    )
    caller.house.metrics.chats.labels("regenerate").inc()
    return await answered(caller, request, run, stream=wanted.stream)


@incognito.post(
    "/incognito/chat",
    operation_id="chatIncognito",
    summary="Ask without a trace",
    response_model=schemas.IncognitoAnswer,
    responses={200: EVENTS, **problems(404, 502)},
)
async def chat_incognito(caller: Asked, request: Request, body: schemas.IncognitoChat) -> Response:
    """The caller keeps the transcript and sends it along; nothing is stored. `POST /import` saves one as a session."""
    events = await caller.application.incognito.chat(
        [message.to_domain() for message in body.transcript], body.message, agent=body.agent, model=body.model
    )
    if not wants_whole(request, stream=body.stream):
        return EventStream(events, caller.house.closing)
    return await _whole(events, body.message)


async def _whole(events: AsyncGenerator[StreamEvent, None], question: str) -> Response:
    latest: dict[str, dict[str, Any]] = {}
    async for event in events:
        latest[event.type] = event.data
    said = latest["message"]
    if said["status"] == "failed":
        return Problem(502, latest["error"]["code"], "the model failed to answer; send the same request again")
    return Json(
        {
            "message": question,
            "answer": said["text"],
            "sources": [],
            "suggestions": [],
            "usage": latest.get("usage"),
            "status": said["status"],
        }
    )
