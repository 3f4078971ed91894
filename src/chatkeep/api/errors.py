"""Every error as problem+json (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chatkeep.api.encoding import Json
from chatkeep.domain.errors import (
    ChatkeepError,
    Conflict,
    ContextOverflow,
    Invalid,
    LimitExceeded,
    ModelError,
    NotFound,
    NotSupported,
    RevisionConflict,
    RunActive,
    SeqConflict,
    StoreError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20

_TOO_LONG = frozenset(("string_too_long", "too_long"))
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "limit_exceeded",
    415: "unsupported_media_type",
    422: "invalid",
}
_DETAILS = {
    "Not Found": "there is no such path; GET /openapi.json describes those there are",
    "Method Not Allowed": "this path does not take that method",
}
_STATUSES: Sequence[tuple[type[ChatkeepError], int]] = (
    (NotFound, 404),
    (Conflict, 409),
    (LimitExceeded, 413),
    (Invalid, 422),
    (ContextOverflow, 422),
    (ModelError, 502),
    (NotSupported, 501),
)


class Problem(Response):
    """One problem. `more` are further members of the object."""

    media_type = MEDIA_TYPE

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        shown = {name: value for name, value in more.items() if value is not None}
        title = HTTPStatus(status).phrase
        body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **shown}
        super().__init__(Json.dump(body), status, headers)


def status_of(error: ChatkeepError, *, conditional: bool = False) -> int:
    """Return the HTTP status of an error; `conditional`: the request had an If-Match."""
    if conditional and isinstance(error, RevisionConflict):
        return 412
    if isinstance(error, StoreError):
        return 503 if error.is_temporary else 500
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def problem_of(error: ChatkeepError, *, conditional: bool = False) -> Problem:
    """Return the answer that tells of `error`."""
    status = status_of(error, conditional=conditional)
    headers: dict[str, str] = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = error.retry_after_seconds if isinstance(error, Unavailable) else 1.0
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return Problem(
        status,
        error.code,
        str(error),
        headers,
        field=error.field if isinstance(error, Invalid) else None,
        run_id=error.run_id if isinstance(error, RunActive) else None,
        last_seq=error.last_seq if isinstance(error, SeqConflict) else None,
    )


async def _chatkeep_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChatkeepError)  # noqa: S101 -- registered for these
    return problem_of(error, conditional="if-match" in request.headers)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- registered for these
    faults: Sequence[dict[str, Any]] = error.errors()
    errors = [{"field": _place(fault["loc"]), "message": _visible(fault["msg"])} for fault in faults[:MAX_ERRORS]]
    first = errors[0]
    too_long = all(fault["type"] in _TOO_LONG for fault in faults)
    status, code = (413, "limit_exceeded") if too_long else (422, "invalid")
    return Problem(status, code, f"{first['field']}: {first['message']}", field=first["field"], errors=errors)


def _place(loc: Sequence[object]) -> str:
    """Return where a fault lies, such as `messages.0.role`; `query.limit` loses its first word as well."""
    named = [_visible(str(step)) for step in loc]
    return ".".join(named[1:] if len(named) > 1 else named)[:200]


def _visible(text: str) -> str:
    return text.encode(errors="replace").decode()[:500]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for these
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    code = _CODES.get(error.status_code, "error")
    detail = _DETAILS.get(str(error.detail), str(error.detail))
    return Problem(error.status_code, code, detail, headers)


def _methods(request: Request) -> Sequence[str]:
    """Return every method that the path takes; the router looks at one route only."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    taken = (methods for pattern, methods in request.app.state.methods if pattern.match(path))
    return sorted(set().union(*taken))


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


def add_handlers(app: FastAPI) -> None:
    """Let every error of `app` be answered as a problem."""
    app.add_exception_handler(ChatkeepError, _chatkeep_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)


_DESCRIPTIONS = {
    404: "Nothing of that name is visible to the caller.",
    409: "The stored state does not allow it (`code` says why).",
    412: "If-Match names another revision.",
    413: "Larger than a limit; nothing was stored.",
    415: "The body is not `application/json`.",
    422: "The request is malformed; nothing was stored.",
    500: "Something failed here.",
    501: "Not possible on this engine.",
    502: "The model failed to answer.",
    503: "For the moment not possible; repeat the same request later.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's errors: those every route has, and `statuses`."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": schema}
        for status in sorted({413, 422, 500, 503, *statuses})
    }
