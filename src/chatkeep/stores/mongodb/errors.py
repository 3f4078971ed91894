"""The errors of the driver, and what callers see of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import InvalidBSON, InvalidDocument
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from chatkeep.domain.errors import ChatkeepError, LimitExceeded, NotSupported, StoreError, Timeout, Unavailable
from chatkeep.stores.races import Raced

CLOSED = "the store is closed; open a new one"
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

_UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18
_BSON_TOO_LARGE = 10334
_NEVER_BEGUN = frozenset({24, 46, 91, 112, 189, 262, 10107, 11600, 11602, 13435, 13436})
"""Codes of a server that has not done it: a lock or a document was busy, it shuts down, it is not the primary."""


_MEANINGS: tuple[tuple[tuple[type[PyMongoError], ...], type[StoreError], str], ...] = (
    ((ExecutionTimeout,), Timeout, "the database gave up after the time it was given, so the outcome is unknown"),
    (
        (WriteConcernError,),
        Timeout,
        "too few members of the replica set have confirmed a write; its outcome is unknown",
    ),
    (
        (ServerSelectionTimeoutError, WaitQueueTimeoutError),
        Unavailable,
        "the database cannot be reached, or has no primary; check the URL and that it runs",
    ),
    ((NotPrimaryError,), Unavailable, "the server has just ceased to be the primary; try again"),
    ((NetworkTimeout,), Timeout, "the database did not answer, so the outcome is unknown"),
    ((ConnectionFailure,), Timeout, "the connection was lost, so the outcome is unknown"),
    ((InvalidOperation,), Unavailable, CLOSED),
)
"""What each error of the driver means, the more special ones first."""


def _of_driver(error: PyMongoError) -> ChatkeepError | Raced:
    if isinstance(error, DuplicateKeyError):
        return Raced()
    for classes, meaning, text in _MEANINGS:
        if isinstance(error, classes):
            return meaning(text)
    if isinstance(error, ConfigurationError):
        return NotSupported(f"the driver cannot work with this server or URL: {error}")
    return _of_code(error, error.code if isinstance(error, OperationFailure) else None)


def _of_code(error: PyMongoError, code: int | None) -> ChatkeepError:
    if code in (_UNAUTHORIZED, _AUTHENTICATION_FAILED):
        return Unavailable("the database refuses the credentials or the permission; check the URL and the user's roles")
    if code in _NEVER_BEGUN:
        return Unavailable(f"the database refuses work for now (code {code}); try again")
    if isinstance(error, DocumentTooLarge) or code == _BSON_TOO_LARGE:
        return LimitExceeded("document", actual=MAX_DOCUMENT_BYTES + 1, limit=MAX_DOCUMENT_BYTES, unit="bytes at least")
    return StoreError(f"the database or the driver failed ({type(error).__name__}, code {code})")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the driver as those of the contract, chained; Raced for a key that is there already."""
    try:
        yield
    except PyMongoError as error:
        raise _of_driver(error) from error
    except (InvalidBSON, InvalidDocument) as error:
        raise StoreError(f"the driver cannot read or write a document: {error}") from error
    except (OSError, TimeoutError) as error:
        raise Timeout("the connection was lost, so the outcome is unknown") from error
