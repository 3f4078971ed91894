"""How long the fault tests go on: briefly in every test run, some longer in CI, at full length with `make faults`."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger("chatkeep.faults")

_SCALE = os.environ.get("CHATKEEP_FAULTS", "short")
LONG = _SCALE == "long"


def scaled(short: int, long: int, *, ci: int | None = None) -> int:
    """Return how often to do something; in CI as in every test run, unless `ci` says otherwise."""
    return {"short": short, "ci": short if ci is None else ci, "long": long}[_SCALE]


def tell(what: str, **figures: object) -> None:
    """Say what a test has measured; `make faults` shows it."""
    _log.info("%s: %s", what, ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
