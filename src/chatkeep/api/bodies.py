"""Request bodies: bounded while they come in, and JSON in the strict sense."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from starlette.exceptions import HTTPException
from starlette.requests import Request
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
