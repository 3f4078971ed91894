"""Time that only moves when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


class FakeClock:
    """A `Clock` that stands still until it is moved, forwards or backwards."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> datetime:
        """Move by `by`, which may be negative, and return the new moment."""
        self.now += by
        return self.now
