"""Arguments of a StrictRoute: what FastAPI's own routes would read, and nothing besides."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Cookie, Depends, FastAPI, Header, Path, Query
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatkeep.api.errors import add_handlers
from chatkeep.api.routing import StrictRoute


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("odd")
    return value


class _Asked(BaseModel):
    words: Annotated[str, Field(max_length=5)]
    times: int = 1


class _Inner:
    def __init__(self, tenant: int) -> None:
        self.tenant = tenant


async def _inner(request: Request, tenant: Annotated[int, Path(ge=1)]) -> _Inner:
    assert request.path_params["tenant"] == str(tenant)
    return _Inner(tenant)


Caller = Annotated[_Inner, Depends(_inner)]
Even = Annotated[int, Query(ge=0), AfterValidator(_even)]


def _told(caller: _Inner, *values: Any) -> Response:
    said = [value.model_dump() if isinstance(value, BaseModel) else value for value in values]
    return JSONResponse([caller.tenant, *said])


def _app(route: type[APIRoute]) -> FastAPI:
    router = APIRouter(prefix="/{tenant}", route_class=route)

    @router.get("/read/{name}")
    async def read(
        caller: Caller,
        request: Request,
        name: Annotated[str, Path(pattern="^[a-z]+$")],
        needed: Even,
        limit: Annotated[int | None, Query(ge=1, le=9)] = 7,
        if_match: Annotated[str | None, Header(max_length=4)] = None,
        named: Annotated[str | None, Header(alias="X-Named")] = None,
        other: Annotated[bool | None, Query(alias="an-other")] = None,
    ) -> Response:
        return _told(caller, request.url.path, name, needed, limit, if_match, named, other)

    @router.post("/write")
    async def write(caller: Caller, body: _Asked, key: Annotated[str | None, Header()] = None) -> Response:
        return _told(caller, body, key)

    @router.post("/maybe")
    async def maybe(caller: Caller, body: _Asked | None = None) -> Response:
        return _told(caller, body)

    app = FastAPI()
    app.router.routes.extend(router.routes)
    add_handlers(app)
    return app


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/1/read/abc?needed=2", {}, b""),
        ("GET", "/1/read/abc?needed=2&limit=3&an-other=yes", {"If-Match": "x", "X-Named": "y"}, b""),
        ("GET", "/1/read/abc?needed=2&needed=4", {}, b""),
        ("GET", "/1/read/abc?needed=2", {"If-Match": "a, b"}, b""),
        ("GET", "/1/read/abc", {}, b""),
        ("GET", "/1/read/abc?needed=", {}, b""),
        ("GET", "/1/read/abc?needed=3", {}, b""),
        ("GET", "/1/read/ABC?needed=x&limit=10&an-other=perhaps", {"If-Match": "abcde"}, b""),
        ("GET", "/0/read/ABC?needed=1", {}, b""),
        ("GET", "/x/read/abc?needed=2", {}, b""),
        ("POST", "/1/write", _JSON, b'{"words": "abc"}'),
        ("POST", "/1/write", {**_JSON, "Key": "k"}, b'{"words": "abc", "times": 3}'),
        ("POST", "/1/write", _JSON, b'{"words": "abcdef", "times": "many"}'),
        ("POST", "/1/write", _JSON, b"[]"),
        ("POST", "/1/write", _JSON, b"null"),
        ("POST", "/1/write", _JSON, b""),
        ("POST", "/1/write", {}, b""),
        ("POST", "/0/write", _JSON, b'{"times": 1.5}'),
        ("POST", "/1/maybe", {}, b""),
        ("POST", "/1/maybe", _JSON, b"null"),
        ("POST", "/1/maybe", _JSON, b'{"words": "abc"}'),
        ("POST", "/1/maybe", _JSON, b'{"words": 3}'),
    ],
)
async def test_arguments_and_faults_are_those_of_fastapi(
    method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    answers: list[tuple[int, Any]] = []
    for route in (APIRoute, StrictRoute):
        transport = httpx.ASGITransport(_app(route))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.request(method, path, headers=headers, content=body)
        answers.append((response.status_code, response.json()))

    assert answers[1] == answers[0]
    assert answers[0][0] in (200, 413, 422)


async def _cookies(session: Annotated[str, Cookie()]) -> Response:
    return Response(session)


async def _tasks(tasks: BackgroundTasks) -> Response:
    return Response(str(tasks))


async def _answer(response: Response) -> Response:
    return response


def _thread() -> Response:
    return Response()


async def _thread_inside(of: Annotated[Response, Depends(_thread)]) -> Response:
    return of


async def _two_bodies(one: _Asked, other: _Asked) -> Response:
    return _told(_Inner(1), one, other)


async def _made_anew(names: Annotated[list[str], Query(default_factory=list)]) -> Response:
    return Response(str(names))


@pytest.mark.parametrize("endpoint", [_cookies, _tasks, _answer, _thread, _thread_inside, _two_bodies, _made_anew])
def test_a_function_that_needs_more_is_refused_when_it_is_declared(endpoint: Any) -> None:
    with pytest.raises(TypeError, match="StrictRoute"):
        StrictRoute("/", endpoint, methods=["POST"])
