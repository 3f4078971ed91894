"""Bounds on input, the same on every engine."""

from __future__ import annotations

import math
import re
from typing import Any

from chatkeep.domain.errors import Invalid, LimitExceeded

_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")

KIB = 1024
MAX_MESSAGE_BYTES = 256 * KIB
MAX_BATCH_MESSAGES = 100
MAX_BATCH_BYTES = 1024 * KIB
MAX_STATE_BYTES = 256 * KIB
MAX_METADATA_BYTES = 16 * KIB
MAX_TITLE_CHARS = 200
MAX_COMMENT_CHARS = 4_000
MAX_EVENT_BYTES = 64 * KIB
MAX_EVENTS = 100
MAX_REQUEST_BYTES = 320 * KIB
MAX_JSON_DEPTH = 64
MAX_INTEGER_BITS = 4_096
MAX_LIST = 200
MAX_READ = 1_000
MAX_EXAMINED = 1_000


def check_size(what: str, actual: int, limit: int, unit: str = "bytes") -> None:
    """Raise LimitExceeded if `actual` is above `limit`."""
    if actual > limit:
        raise LimitExceeded(what, actual=actual, limit=limit, unit=unit)


def check_limit(value: int, most: int, field: str = "limit") -> int:
    """Return `value` if it lies within 1 and `most`; raise Invalid otherwise."""
    if not 1 <= value <= most:
        raise Invalid(f"{field} must be between 1 and {most}, not {value}", field=field)
    return value


def check_text(value: str, field: str) -> str:
    """Return `value` if it is text without lone surrogates; raise Invalid otherwise."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{field} holds a lone surrogate, which no text may", field=field) from error
    return value


def _check_string(value: str, field: str, *, surrogates: bool) -> None:
    if not surrogates:
        check_text(value, field)
    elif _SPLIT_PAIR.search(value):
        raise Invalid(f"{field} holds one character as two surrogates, which JSON would join", field=field)


def check_json(  # noqa: C901, PLR0912 -- one branch for each kind of JSON value
    value: Any, field: str, *, surrogates: bool = False, depth: int = 0
) -> None:
    """Raise Invalid unless `value` comes back equal from JSON: text keys, finite floats, bounded depth and integers.

    `surrogates` admits lone surrogates in text, for items of other systems.
    """
    if depth > MAX_JSON_DEPTH:
        raise Invalid(f"{field} is nested deeper than {MAX_JSON_DEPTH} levels", field=field)
    if value is None or value is True or value is False:
        return
    kind = type(value)
    if kind is str:
        _check_string(value, field, surrogates=surrogates)
    elif kind is int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise Invalid(f"{field} holds an integer of more than {MAX_INTEGER_BITS} bits", field=field)
    elif kind is float:
        if not math.isfinite(value):
            raise Invalid(f"{field} holds {value}, which JSON cannot", field=field)
    elif kind is list:
        for item in value:
            check_json(item, field, surrogates=surrogates, depth=depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Invalid(f"{field} has the key {key!r}; JSON keys are text", field=field)
            _check_string(key, field, surrogates=surrogates)
            check_json(item, field, surrogates=surrogates, depth=depth + 1)
    else:
        raise Invalid(f"{field} holds a {kind.__name__}, which JSON cannot", field=field)
