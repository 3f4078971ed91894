"""Logs tell what went wrong, and nothing of what was said."""

from __future__ import annotations

import errno
import json
import logging
import sys
from typing import Literal

import pytest
import structlog

from chatkeep.api.logs import configure_logs
from chatkeep.settings import Settings


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


def _lines(level: Literal["info", "warning"], form: Literal["text", "json"]) -> None:
    configure_logs(Settings(log_format=form, log_level=level))
    log = structlog.get_logger("chatkeep.access")
    log.debug("finest")
    log.info("request", route="/health", status=200)
    log.error("fault", kind="ValueError")
    logging.getLogger("chatkeep.somewhere").info("spoken")


def test_a_line_of_json_tells_when_who_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    _lines("info", "json")

    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each.pop("timestamp")[-1] for each in told] == ["Z"] * 3
    assert told == [
        {"event": "request", "route": "/health", "status": 200, "logger": "chatkeep.access", "level": "info"},
        {"event": "fault", "kind": "ValueError", "logger": "chatkeep.access", "level": "error"},
        {"event": "spoken", "logger": "chatkeep.somewhere", "level": "info"},
    ]


def test_a_line_of_text_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _lines("info", "text")

    request, fault, spoken = capsys.readouterr().err.splitlines()
    assert ("[info     ] request" in request, "route=/health status=200" in request) == (True, True)
    assert ("[error    ] fault" in fault, "[chatkeep.access]" in fault) == (True, True)
    assert "[chatkeep.somewhere]" in spoken


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    _lines("warning", "json")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["fault"]


class _Broken:
    """A standard error that nothing more goes into."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def write(self, _line: str) -> int:
        raise self._fault


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "no space left"), ValueError("I/O operation on closed file")],
    ids=["full", "closed"],
)
def test_a_line_that_cannot_be_written_fails_nobody(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logs(Settings(log_format="json"))
    monkeypatch.setattr(sys, "stderr", _Broken(fault))

    structlog.get_logger("chatkeep.access").info("request")
