"""Routes that take nothing they do not know."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from chatkeep.api.bodies import MAX_BODY_BYTES, BoundedRequest

_ABSENT: Any = object()


class StrictRoute(APIRoute):
    """A route that takes nothing it does not know: bodies in strict JSON, query parameters that it declares.

    A parameter `x.KEY` in its `openapi_extra` stands for all that begin with `x.`. An endpoint of such a route returns
    a Response; what it depends on are coroutines.
    """

    max_body_bytes = MAX_BODY_BYTES

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        arguments = _Arguments(self.dependant)
        known = _query_names(self.dependant)
        families = tuple(_families(self.openapi_extra or {}))
        endpoint: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint
        reads_body = self.body_field is not None

        async def strictly(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive)
            bounded.max_bytes = self.max_body_bytes
            for name in bounded.query_params:
                if name not in known and not name.startswith(families):
                    raise HTTPException(422, f"there is no query parameter {name[:100]!r} here")
            body: object = _ABSENT
            if reads_body:
                _check_media_type(bounded)
                if await bounded.body():
                    body = await bounded.json()
            faults: list[Any] = []
            given = await arguments.of(bounded, body, faults)
            if faults:
                raise RequestValidationError(faults)
            return await endpoint(**given)

        return strictly


class _Field(NamedTuple):
    """A parameter of a path, a query or a header, or the body."""

    name: str
    loc: tuple[str, ...]
    """Where a fault is said to be: the place, and the name there."""
    default: Any
    """_ABSENT where the parameter is required."""
    validate: Callable[..., tuple[Any, list[Any]]]

    @classmethod
    def made(cls, field: Any, *loc: str) -> _Field:
        """Return a field as FastAPI has read it from a signature."""
        if field.field_info.default_factory is not None:
            raise TypeError(f"{field.name} has a default that is made anew each time, which a StrictRoute does not do")
        default = _ABSENT if field.field_info.is_required() else field.get_default()
        return cls(field.name, loc, default, field.validate)

    def read(self, value: object, into: dict[str, Any], faults: list[Any]) -> None:
        """Validate a value, which is _ABSENT where there is none."""
        if value is _ABSENT:
            if self.default is _ABSENT:
                faults.append({"type": "missing", "loc": self.loc, "msg": "Field required", "input": None})
            else:
                into[self.name] = self.default
            return
        into[self.name], found = self.validate(value, loc=self.loc)
        faults += found


class _Arguments:
    """Reads the arguments of a function from requests.

    FastAPI reads the same, but looks through every annotation anew at every request, which takes longer than all else
    that a short request needs.
    """

    def __init__(self, dependant: Dependant) -> None:
        unsupported = (
            dependant.cookie_params,
            dependant.http_connection_param_name,
            dependant.websocket_param_name,
            dependant.background_tasks_param_name,
            dependant.response_param_name,
            dependant.security_scopes_param_name,
        )
        if any(unsupported) or not inspect.iscoroutinefunction(dependant.call) or len(dependant.body_params) > 1:
            raise TypeError(f"{dependant.call} takes what a StrictRoute does not give")
        self.call = dependant.call
        self._request = dependant.request_param_name
        self._inner = [(str(inner.name), _Arguments(inner)) for inner in dependant.dependencies]
        self._path = [_Field.made(field, "path", field.alias) for field in dependant.path_params]
        self._query = [_Field.made(field, "query", field.alias) for field in dependant.query_params]
        self._header = [_Field.made(field, "header", field.alias) for field in dependant.header_params]
        self._body = [_Field.made(field, "body") for field in dependant.body_params]

    async def of(self, request: Request, body: object, faults: list[Any]) -> dict[str, Any]:
        """Return the arguments, or add to `faults` what is wrong with the request."""
        given: dict[str, Any] = {}
        for name, inner in self._inner:
            before = len(faults)
            arguments = await inner.of(request, body, faults)
            if len(faults) == before:
                given[name] = await inner.call(**arguments)
        if self._request is not None:
            given[self._request] = request
        _read(self._path, request.path_params, given, faults)
        _read(self._query, request.query_params, given, faults)
        _read(self._header, request.headers, given, faults)
        for field in self._body:
            field.read(body, given, faults)
        return given


def _read(fields: list[_Field], values: Mapping[str, Any], into: dict[str, Any], faults: list[Any]) -> None:
    for field in fields:
        field.read(values.get(field.loc[-1], _ABSENT), into, faults)


def _query_names(dependant: Dependant) -> frozenset[str]:
    own = {field.alias for field in dependant.query_params}
    return frozenset(own.union(*(_query_names(inner) for inner in dependant.dependencies)))


def _families(described: dict[str, Any]) -> Iterator[str]:
    for parameter in described.get("parameters", ()):
        if parameter["name"].endswith(".KEY"):
            yield parameter["name"].removesuffix("KEY")


def _check_media_type(request: Request) -> None:
    has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and kind != "application/json":
        raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
