"""Page cursors: where the next page begins, signed, and good only for the list and the caller they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from chatkeep.domain.errors import Invalid
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import dump

VERSION = 1
MAX_CHARS = 8_192
_MAC_BYTES = 32


class Opened(NamedTuple):
    """What a cursor holds: the position of the next page, and the filters of the list."""

    position: list[Any]
    filters: dict[str, Any]


class Cursors:
    """Seals and opens cursors with one key."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, scope: Scope, route: str, filters: dict[str, Any], position: list[Any]) -> str:
        """Return the cursor, as unpadded base64url."""
        body = dump([VERSION, position, filters]).encode()
        return base64.urlsafe_b64encode(self._mac(scope, route, body) + body).decode().rstrip("=")

    def open(self, cursor: str, scope: Scope, route: str, given: dict[str, Any]) -> Opened:
        """Return what the cursor holds. `given` are the filters of this request; None: not given, so that the cursor's
        own stands. Raises Invalid for a cursor that was made elsewhere, or for other filters.
        """
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _unusable() from error
        mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(scope, route, body)):
            raise _unusable()
        version, position, filters = json.loads(body)
        if version != VERSION or any(
            value is not None and dump(value) != dump(filters.get(name)) for name, value in given.items()
        ):
            raise _unusable()
        return Opened(position, filters)

    def _mac(self, scope: Scope, route: str, body: bytes) -> bytes:
        keyed = hmac.new(self._secret, digestmod=hashlib.sha256)
        for field in (scope.tenant, scope.app, scope.user, route):
            encoded = field.encode()
            keyed.update(len(encoded).to_bytes(4, "big") + encoded)
        keyed.update(body)
        return keyed.digest()


def _unusable() -> Invalid:
    return Invalid("this cursor is not usable for this list; begin again without it", field="cursor")
