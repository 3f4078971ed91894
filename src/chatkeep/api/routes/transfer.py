"""Export and import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from chatkeep.api.encoding import Json
from chatkeep.api.errors import problems
from chatkeep.api.house import Asked
from chatkeep.api.lines import lines_of
from chatkeep.api.params import SessionId
from chatkeep.api.routing import StrictRoute
from chatkeep.api.schemas import chat as schemas
from chatkeep.domain.limits import KIB

MAX_IMPORT_BYTES = 256 * 1024 * KIB
_JSON_LINES = "application/x-ndjson"
_MARKDOWN = "text/markdown"


class ImportRoute(StrictRoute):
    """Takes much, piece by piece."""

    max_body_bytes = MAX_IMPORT_BYTES


router = APIRouter(prefix="/v1/apps/{app}", tags=["transfer"], route_class=StrictRoute)
imports = APIRouter(prefix="/v1/apps/{app}", tags=["transfer"], route_class=ImportRoute)


@router.get(
    "/sessions/{session_id}/export",
    operation_id="exportSession",
    summary="Export a session",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "JSON Lines (every branch), or Markdown (the active path).",
            "content": {_JSON_LINES: {"schema": {"type": "string"}}, _MARKDOWN: {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
async def export_session(
    caller: Asked,
    session_id: SessionId,
    format_: Annotated[Literal["jsonl", "markdown"], Query(alias="format", description="The form.")] = "jsonl",
) -> Response:
    """What `POST /import` reads, or a document for people."""
    transfer = caller.keeping.transfer
    if format_ == "markdown":
        pieces = transfer.export_markdown(caller.scope, session_id)
        kind, ending = f"{_MARKDOWN}; charset=utf-8", "md"
    else:
        pieces = _with_ends(transfer.export(caller.scope, [session_id]))
        kind, ending = _JSON_LINES, "jsonl"
    first = await anext(pieces)
    return _download(_encoded(first, pieces), f"{session_id}.{ending}", kind)


def _download(pieces: AsyncIterator[bytes], name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": kind}
    return StreamingResponse(pieces, headers=headers)


async def _with_ends(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line + "\n"


async def _encoded(first: str, rest: AsyncIterator[str]) -> AsyncIterator[bytes]:
    yield first.encode(errors="replace")
    async for piece in rest:
        yield piece.encode(errors="replace")


@router.get(
    "/export",
    operation_id="exportSessions",
    summary="Export everything",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "JSON Lines: every listed session, archived ones included, with all its branches.",
            "content": {_JSON_LINES: {"schema": {"type": "string"}}},
        },
        **problems(),
    },
)
async def export_sessions(caller: Asked) -> Response:
    """What `POST /import` reads. What is in the trash is left out; a session written to meanwhile is there once."""
    pieces = _with_ends(caller.keeping.transfer.export(caller.scope))
    first = await anext(pieces, "")
    return _download(_encoded(first, pieces), f"{caller.scope.app}.jsonl", _JSON_LINES)


@imports.post(
    "/import",
    operation_id="importSessions",
    summary="Import sessions",
    response_model=schemas.ImportReport,
    responses=problems(),
    openapi_extra={
        "requestBody": {
            "required": False,
            "description": "JSON Lines, at most 256 MiB, a line at most 2 MiB.",
            "content": {_JSON_LINES: {"schema": {"type": "string"}}},
        }
    },
)
async def import_sessions(
    caller: Asked,
    request: Request,
    dry_run: Annotated[bool, Query(description="Write nothing and find out the same.")] = False,  # noqa: FBT002 -- a query parameter
) -> Response:
    """What an export holds, or one message a line. Repeatable: what is stored already is left alone."""
    report = await caller.keeping.transfer.import_lines(caller.scope, lines_of(request.stream()), dry_run=dry_run)
    if not dry_run:
        caller.house.metrics.sessions_created.inc(report.created)
        caller.house.metrics.messages_saved.labels("import").inc(report.messages)
    return Json(asdict(report))
