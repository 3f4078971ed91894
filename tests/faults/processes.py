"""Processes of tests that begin their work at once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def quickly_started() -> ForkServerContext:
    """Return a maker of processes that have imported already what the tests of this folder run in them.

    One server of forks serves a whole test run and loads what it was told before its first use, so all name the same.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.appender", "tests.faults.listing"])
    return context
