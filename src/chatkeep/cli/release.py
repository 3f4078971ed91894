"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Return the version, also for a source tree that was never installed."""
    try:
        return version("chatkeep")
    except PackageNotFoundError:
        return "from source, not installed"
