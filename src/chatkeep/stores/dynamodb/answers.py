"""Reading the server's answers: as the driver does, but for the values of attributes.

The driver looks through the ten kinds of value at each attribute, which took a third of the time of a read. An answer
has hundreds of attributes.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from aiobotocore.parsers import (  # type: ignore[import-untyped]  # the package ships no types
    AioJSONParser,
    AioResponseParserFactory,
)

_PROTOCOL = "json"


class Parsers(AioResponseParserFactory):  # type: ignore[misc]  # as above
    """Makes the parsers of a client's answers: a component of the driver's session."""

    def create_parser(self, protocol_name: str) -> Any:
        """Return the parser of a protocol."""
        return _Parser(**self._defaults) if protocol_name == _PROTOCOL else super().create_parser(protocol_name)


class _Parser(AioJSONParser):  # type: ignore[misc]  # as above
    def _handle_map(self, shape: Any, value: Any) -> Any:
        if shape.value.name == "AttributeValue":
            return {name: _attribute(one) for name, one in value.items()}
        return super()._handle_map(shape, value)


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value with its bytes decoded; sets are never written here."""
    [(kind, content)] = value.items()
    if kind == "B":
        return {kind: b64decode(content)}
    if kind == "L":
        return {kind: [_attribute(one) for one in content]}
    if kind == "M":
        return {kind: {name: _attribute(one) for name, one in content.items()}}
    return value
