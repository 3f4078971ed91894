"""The errors of the driver, and what callers see of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
_NO_FUNCTION = "Function not found"
_REFUSED_AT_ONCE = ("NOREPLICAS", "MISCONF", "BUSY", "UNBLOCKED")

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


def _of_driver(error: RedisError) -> StoreError:
    if isinstance(error.__cause__ or error.__context__, ConnectionRefusedError) or "onnecting to" in str(error):
        return Unavailable("the database cannot be reached; check the URL and that it runs")
    for classes, meaning, text in _MEANINGS:
        if isinstance(error, classes):
            return meaning(text)
    text = str(error)
    if _NO_FUNCTION in text:
        return Unavailable("the functions of Chatkeep are not loaded; run `chatkeep migrate`")
    if text.startswith(_REFUSED_AT_ONCE):
        return Unavailable(f"the database refuses work for now ({text.split(maxsplit=1)[0]}); try again")
    if isinstance(error, ResponseError):
        return StoreError("the database refused a request; please report this")
    return StoreError(f"the driver failed ({type(error).__name__})")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the driver as those of the contract, chained."""
    try:
        yield
    except RedisError as error:
        raise _of_driver(error) from error
    except RedisClusterException as error:
        raise Unavailable("no node of the cluster can be reached; check the URL and that it runs") from error
    except (OSError, TimeoutError) as error:
        raise Timeout("the connection was lost, so the outcome is unknown") from error
