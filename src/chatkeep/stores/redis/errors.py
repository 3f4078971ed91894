"""The errors of the driver, and what callers see of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import hiredis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    ConnectionError as LostError,
    MasterDownError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TimeoutError as SlowError,
    TryAgainError,
)
from redis.sentinel import MasterNotFoundError

from chatkeep.domain.errors import StoreError, Timeout, Unavailable

CLOSED = "the store is closed; open a new one"
_UNREACHABLE = "the database cannot be reached, or has no master; check the URL and that it runs"

_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[StoreError], str], ...] = (
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        Unavailable,
        "the database refuses the credentials or the permission; check the URL and the user's rights",
    ),
    ((MaxConnectionsError,), Unavailable, "all connections are busy, or the database cannot be reached; try again"),
    ((OutOfMemoryError,), Unavailable, "the database is full: it has reached its maxmemory"),
    (
        (MasterNotFoundError, BusyLoadingError, MasterDownError, ReadOnlyError, ClusterDownError, TryAgainError),
        Unavailable,
        "the database has no master now, or is just starting; try again",
    ),
    ((SlotNotCoveredError, ClusterError), Unavailable, "a part of the cluster cannot be reached; try again"),
    ((SlowError, LostError), Timeout, "the connection was lost or too slow, so the outcome is unknown"),
)
"""What each error of the driver means, the more special ones first."""


_MEANINGS_OF_CODES: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (
        ("NOAUTH", "WRONGPASS", "NOPERM"),
        Unavailable,
        "the database refuses the credentials or the permission; check the URL and the user's rights",
    ),
    (("OOM",), Unavailable, "the database is full: it has reached its maxmemory"),
    (
        ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "BUSY", "UNBLOCKED"),
        Unavailable,
        "the database has no master now, is just starting, or refuses writes; try again",
    ),
)
"""What the first word of an error of the server means."""


class Refused(Exception):
    """Nobody can be reached, and nothing was sent."""


class NotMaster(Exception):
    """What the sentinels took for the master is none, or not yet."""


def _of_reply(text: str) -> StoreError:
    code = text.partition(" ")[0]
    for codes, meaning, told in _MEANINGS_OF_CODES:
        if code in codes:
            return meaning(f"{told} ({code})")
    if "Function not found" in text:
        return Unavailable("the functions of Chatkeep are not loaded; run `chatkeep migrate`")
    return StoreError(f"the database refused a request ({code}); please report this")


def _of_driver(error: RedisError) -> StoreError:
    if isinstance(error.__cause__ or error.__context__, ConnectionRefusedError) or "onnecting to" in str(error):
        return Unavailable(_UNREACHABLE)
    for classes, meaning, text in _MEANINGS:
        if isinstance(error, classes):
            return meaning(text)
    return _of_reply(str(error)) if isinstance(error, ResponseError) else StoreError("the driver failed")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the driver as those of the contract, chained."""
    try:
        yield
    except RedisError as error:
        raise _of_driver(error) from error
    except hiredis.ReplyError as error:
        raise _of_reply(str(error)) from error
    except (Refused, NotMaster) as error:
        raise Unavailable(_UNREACHABLE) from error
    except RedisClusterException as error:
        raise Unavailable("no node of the cluster can be reached; check the URL and that it runs") from error
    except (OSError, TimeoutError) as error:
        raise Timeout("the connection was lost, so the outcome is unknown") from error
