"""What an error of the driver means to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from chatkeep.domain.errors import CorruptRecord, NotSupported, StoreError, Timeout, Unavailable
from chatkeep.stores.races import Raced

CLOSED = "the PostgreSQL store is closed; open a new one"
POOLED = (
    "a pooler in front of the database gives a client another connection for each transaction; let it work in session "
    "mode, or connect to the database itself"
)

_RACED = frozenset({"23503", "23505", "40001", "40P01"})
"""Another transaction was first: the call is repeated by the engine."""

_MEANINGS: tuple[tuple[str, type[StoreError | NotSupported], str], ...] = (
    ("57014", Timeout, "the database took too long and gave up"),
    ("28", Unavailable, "the database refuses the user or the password; check the URL"),
    ("3D000", Unavailable, "the database of that name does not exist; create it"),
    ("3F000", Unavailable, "the schema is missing; run `chatkeep migrate`"),
    ("42P01", Unavailable, "a table is missing; run `chatkeep migrate`"),
    ("42501", Unavailable, "the user may not do that; grant it the rights on the schema"),
    ("53100", Unavailable, "the database's disk is full; nothing of the call was stored: free space and repeat it"),
    ("53", Unavailable, "the database has no room for more work now; try again"),
    ("25006", Unavailable, "this server is read-only; connect to the primary"),
    ("57P", Unavailable, "the database is shutting down or starting; try again"),
    ("58", Unavailable, "the database's disk failed; look at its log"),
    ("26000", NotSupported, POOLED),
    ("42P05", NotSupported, POOLED),
    ("08P01", Timeout, "the database, or a pooler in front of it, broke off, so the outcome is unknown; see its log"),
    ("08", Timeout, "the connection was lost, so the outcome is unknown"),
    ("XX001", CorruptRecord, "the database reports damaged data; restore a backup"),
    ("XX002", CorruptRecord, "the database reports a damaged index; rebuild it"),
)
"""The beginning of an SQLSTATE → ours; the first match counts. What is not here is a defect of this store."""


def of_server(error: asyncpg.PostgresError) -> Exception:
    """Return what the server's refusal means. The server's own words may quote what was stored; they stay behind."""
    state = error.sqlstate or ""
    if state in _RACED:
        return Raced()
    for begin, kind, said in _MEANINGS:
        if state.startswith(begin):
            return kind(f"{said} (SQLSTATE {state})")
    return StoreError(f"the database refused a statement of Chatkeep (SQLSTATE {state}); please report this")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the driver as those of the contract, chained; Raced where the call is to be repeated."""
    try:
        yield
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise Unavailable(
            "no host of the URL takes writes: each is a standby, or read-only; name the primary"
        ) from error
    except asyncpg.PostgresError as error:
        raise of_server(error) from error
    except asyncpg.InterfaceError as error:
        if "pool is clos" in str(error):
            raise Unavailable(CLOSED) from error
        if isinstance(error, ValueError):
            raise StoreError("the driver refused a value of Chatkeep; please report this") from error
        raise Timeout("the connection was lost, so the outcome is unknown") from error
    except TimeoutError as error:
        raise Timeout("the database did not answer, so the outcome is unknown") from error
    except OSError as error:
        raise Unavailable(f"the database cannot be reached: {error.strerror or error}") from error
