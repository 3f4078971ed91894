"""Answers to a chat: as a stream of events, or whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from chatkeep.api.encoding import Json, message_json
from chatkeep.api.errors import Problem
from chatkeep.api.house import Caller
from chatkeep.api.sse import EventStream
from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.runs import Run
from chatkeep.services.live import StreamEvent


def wants_whole(request: Request, *, stream: bool) -> bool:
    """Return whether the caller asked for one JSON object."""
    accepted = request.headers.get("accept", "")
    return not stream or ("application/json" in accepted and "text/event-stream" not in accepted)


async def answered(caller: Caller, request: Request, run: Run, *, stream: bool) -> Response:
    """Return the answer that `run` is writing, in the form that was asked for."""
    headers = {"Chatkeep-Run-Id": run.id, "Location": f"{caller.url}/runs/{run.id}"}
    if not wants_whole(request, stream=stream):
        return EventStream(_events(caller, run), caller.house.closing, headers)
    async for _ in caller.application.chat.follow(caller.scope, run.id):
        pass
    run = await caller.application.chat.get(caller.scope, run.id)
    if run.status == "failed" or run.message_seq is None:
        return _failed(run)
    return Json(await _whole(caller, run, run.message_seq), headers=headers)


async def _events(caller: Caller, run: Run) -> AsyncGenerator[StreamEvent, None]:
    if run.status == "queued":
        yield StreamEvent(None, "run", {"run_id": run.id, "session_id": run.session_id, "status": "queued"})
    events = caller.application.chat.follow(caller.scope, run.id)
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()


def _failed(run: Run) -> Response:
    status, code = (502, run.error or "model_error") if run.status == "failed" else (409, run.status)
    return Problem(
        status,
        code,
        f"the answer ended as {run.status!r}; GET the run or its session for what there is",
        run_id=run.id,
        message_seq=run.message_seq,
    )


async def _whole(caller: Caller, run: Run, seq: int) -> dict[str, Any]:
    history = caller.keeping.history
    entry = await history.get(caller.scope, run.session_id, seq)
    question = await _question(caller, run, entry)
    said: dict[str, Any] = message_json(entry) if isinstance(entry, Message) else {}
    return {
        "session_id": run.session_id,
        "message": question,
        "answer": entry.text if isinstance(entry, Message) else "",
        "sources": said.get("sources", []),
        "suggestions": said.get("suggestions", []),
        "usage": said.get("usage"),
        "status": said.get("status", run.status),
        "run_id": run.id,
        "message_seq": seq,
    }


async def _question(caller: Caller, run: Run, answer: Message | Unreadable) -> str:
    if not isinstance(answer, Message) or answer.parent_seq == 0:
        return ""
    try:
        entry = await caller.keeping.history.get(caller.scope, run.session_id, answer.parent_seq)
    except NotFound:
        return ""
    return entry.text if isinstance(entry, Message) else ""
