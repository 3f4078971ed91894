"""How long the fault tests go on: briefly in every test run, at full length with `make faults`."""

from __future__ import annotations

import os

LONG = os.environ.get("CHATKEEP_FAULTS") == "long"


def scaled(short: int, long: int) -> int:
    """Return how often to do something."""
    return long if LONG else short
