"""Logs of the server: structured, on standard error, without content."""

from __future__ import annotations

import contextlib
import logging
import sys

import structlog

from chatkeep.settings import Settings

# The values of variables, which both forms would write otherwise, are what people have said.
_JSON_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


class _Lines:
    """Writes whole lines, and knows whose they are. One that cannot be written is lost; no request fails for it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def info(self, line: str) -> None:
        """Write a line, whatever its level."""
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed stream
            sys.stderr.write(f"{line}\n")

    debug = warning = error = critical = info


def configure_logs(settings: Settings) -> None:
    """Let every logger of the process write lines of text or JSON, as the settings say.

    What goes through structlog is written at once, without a detour through `logging`, which would cost a request more
    than all that its line tells of it.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = settings.log_format == "json"
    last: list[structlog.typing.Processor] = (
        [_JSON_TRACEBACKS, structlog.processors.JSONRenderer()] if as_json else [_console()]
    )
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("httpx", "httpcore", "openai", "anthropic", "botocore", "aiobotocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
