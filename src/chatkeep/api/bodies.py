"""Request bodies: bounded while they come in, and JSON in the strict sense."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import KIB, check_json
from chatkeep.domain.messages import JsonValue

MAX_BODY_BYTES = 1536 * KIB
_LENGTH_DIGITS = 19
_WRAPPING_LEVELS = 8
"""How deep in a body the values may lie whose own depth is bounded."""


def _no_constant(name: str) -> None:
    raise Invalid(f"{name} is not JSON")


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Invalid("an object has the same key twice")
    return made


def loads(text: bytes | str) -> JsonValue:
    """Return the value of a JSON text in UTF-8. Raises Invalid: no NaN, no key twice, bounded depth and integers."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_no_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON in UTF-8: {error}") from error
    check_json(value, "body", surrogates=True, depth=-_WRAPPING_LEVELS)
    return value


class BoundedRequest(Request):
    """A request whose body is refused as soon as it is longer than `max_bytes`."""

    max_bytes = MAX_BODY_BYTES

    @override
    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body. Raises HTTPException 413."""
        told = self.headers.get("content-length", "")
        self.check_size(int(told) if told.isdecimal() and len(told) < _LENGTH_DIGITS else 0)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            self.check_size(size)
            yield chunk

    def check_size(self, size: int) -> None:
        """Raise HTTPException 413 for a body that is too long."""
        if size > self.max_bytes:
            raise HTTPException(413, f"the body is longer than {self.max_bytes} bytes")

    @override
    async def json(self) -> JsonValue:
        try:
            return loads(await self.body())
        except Invalid as error:
            raise HTTPException(422, str(error)) from error


class StrictRoute(APIRoute):
    """A route that takes nothing it does not know: bodies in strict JSON, query parameters that it declares.

    A parameter `x.KEY` in its `openapi_extra` stands for all that begin with `x.`.
    """

    max_body_bytes = MAX_BODY_BYTES

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = _query_names(self.dependant)
        families = tuple(_families(self.openapi_extra or {}))

        async def strictly(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive)
            bounded.max_bytes = self.max_body_bytes
            for name in bounded.query_params:
                if name not in known and not name.startswith(families):
                    raise HTTPException(422, f"there is no query parameter {name[:100]!r} here")
            if self.body_field is not None:
                _check_media_type(bounded)
            return await handle(bounded)

        return strictly


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
