"""How long the fault tests go on: briefly in every test run, at full length with `make faults`."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger("chatkeep.faults")

LONG = os.environ.get("CHATKEEP_FAULTS") == "long"


def scaled(short: int, long: int) -> int:
    """Return how often to do something."""
    return long if LONG else short


def tell(what: str, **figures: object) -> None:
    """Say what a test has measured; `make faults` shows it."""
    _log.info("%s: %s", what, ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
