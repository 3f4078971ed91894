"""Time, as a value that tests can set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment as an aware UTC datetime. May step backwards: nothing is ever ordered by it."""


def system_clock() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)
