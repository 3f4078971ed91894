"""Logs tell what went wrong, and nothing of what was said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from chatkeep.api.logs import configure_logs
from chatkeep.settings import Settings


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _fail(said: str) -> None:
    raise RuntimeError(f"{len(said)} characters")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_logged_without_the_values_of_variables(
    form: Literal["text", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(Settings(log_format=form))

    try:
        _fail("my secret")
    except RuntimeError:
        logging.getLogger("somebody.else").exception("it failed")

    written = capsys.readouterr().err
    assert "it failed" in written
    assert "RuntimeError" in written
    assert "9 characters" in written
    assert "_fail" in written
    assert "secret" not in written.replace('_fail("my secret")', "")
    assert written.count("\n") < 20
