"""The errors of the driver, and what callers see of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import (  # type: ignore[import-untyped]  # the package ships no types
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from chatkeep.domain.errors import ChatkeepError, LimitExceeded, StoreError, Timeout, Unavailable
from chatkeep.stores.races import Raced

MAX_ITEM_BYTES = 400 * 1024

_BUSY = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
    }
)
_REFUSED = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
_HTTP_SERVER_ERROR = 500


def of_client(error: ClientError) -> ChatkeepError | Raced:
    """Return what the server's refusal means."""
    code = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "ConditionalCheckFailedException":
        return Raced()
    if code in _BUSY or status >= _HTTP_SERVER_ERROR:
        return Unavailable(f"the database refuses work for now ({code}); try again")
    if code in _REFUSED:
        return Unavailable(f"the database refuses the credentials ({code}); check them and the permissions")
    if code == "ResourceNotFoundException":
        return Unavailable("a table is missing; run `chatkeep migrate`, or create the tables as the reference says")
    if code == "ItemCollectionSizeLimitExceededException" or "size" in str(error).lower():
        return LimitExceeded("item", actual=MAX_ITEM_BYTES + 1, limit=MAX_ITEM_BYTES, unit="bytes at least")
    return StoreError(f"the database refused a request: {error}")


def of_transport(error: BotoCoreError | aiohttp.ClientError | OSError | TimeoutError) -> StoreError:
    """Return what a failure on the way means: Unavailable if nothing was sent, Timeout if nobody knows."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Unavailable("there are no credentials for the database; give them in the environment or a profile")
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ConnectionRefusedError):
        return Unavailable(f"the database cannot be reached: {error}")
    if isinstance(error, HTTPClientError | aiohttp.ClientError | OSError | TimeoutError):
        return Timeout(f"the database did not answer, so the outcome is unknown: {error!r}")
    return StoreError(f"the driver failed: {error}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the driver as those of the contract, chained; Raced for a condition that did not hold."""
    try:
        yield
    except ClientError as error:
        raise of_client(error) from error
    except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise of_transport(error) from error
