"""Where a command works, and the boundary at which its errors become one sentence."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from chatkeep.cli.output import Output
from chatkeep.domain.errors import ChatkeepError, ModelUnavailable, NotFound, RunActive, Timeout
from chatkeep.domain.scope import Scope

if TYPE_CHECKING:
    from chatkeep.bootstrap import Keeping
    from chatkeep.settings import Settings

TENANT = "default"
PIPE_CLOSED = 141
"""The exit code of a program that a closed pipe ended: 128 and SIGPIPE."""
STOPPED = 130
"""The exit code of a program that was asked to stop: 128 and SIGINT."""

Given = ParamSpec("Given")
Command = Callable[Concatenate["Place", Given], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """The scope and the store of a command, and where its answer goes."""

    scope: Scope
    store_url: str | None
    out: Output

    def settings(self, **given: object) -> Settings:
        """Return the settings; `given` ones and `--store` win. Raises Invalid."""
        from chatkeep.settings import load_settings  # noqa: PLC0415 -- `--help` needs no settings

        if self.store_url is not None:
            given["store_url"] = self.store_url
        return load_settings(**given)

    @asynccontextmanager
    async def keeping(self, *, embedding: bool = False) -> AsyncIterator[Keeping]:
        """Open the store, without models and background work, and close it at the end.

        `embedding` loads the embedder, if the settings want one; where it cannot be had, a note says so.
        """
        from chatkeep.bootstrap import keeping, open_embedder  # noqa: PLC0415 -- `--help` needs no store
        from chatkeep.engines import open_store  # noqa: PLC0415 -- `--help` needs no store
        from chatkeep.ports.clock import system_clock  # noqa: PLC0415 -- the same

        settings = self.settings()
        embedder = open_embedder(settings) if embedding else None
        if embedder is not None:
            try:
                await embedder.load()
            except ModelUnavailable as error:
                self.out.note(f"by words alone: {error}")
        opened = await open_store(settings.url())
        try:
            kept = keeping(opened, system_clock, settings.policies(), settings.context_policy(), embedder=embedder)
            try:
                yield kept
            finally:
                await kept.context.close()
        finally:
            await opened.store.close()


_AppName = Annotated[str, typer.Option("--app", metavar="APP", help="The app whose sessions are meant.")]
_UserName = Annotated[str, typer.Option("--user", metavar="USER", help="Whose sessions are meant.")]
_StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="The store, such as sqlite:///chats.db; else CHATKEEP_STORE_URL."),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]

_COMMON = (
    inspect.Parameter("app_name", inspect.Parameter.KEYWORD_ONLY, annotation=_AppName, default="default"),
    inspect.Parameter("user_name", inspect.Parameter.KEYWORD_ONLY, annotation=_UserName, default="local"),
    inspect.Parameter("store_url", inspect.Parameter.KEYWORD_ONLY, annotation=_StoreUrl, default=None),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=_AsJson, default=False),
    inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, annotation=_Debug, default=False),
)


def command(group: typer.Typer, name: str) -> Callable[[Command[Given]], Command[Given]]:
    """Register, as a decorator, a coroutine function as the command `name`; the common options become its Place."""

    def add(function: Command[Given]) -> Command[Given]:
        group.command(name)(_runner(function))
        return function

    return add


def _runner(function: Command[Given]) -> Callable[..., None]:
    _at, *own = inspect.signature(function, eval_str=True).parameters.values()

    def run(  # the signature that the options are read from is set below
        *, app_name: str, user_name: str, store_url: str | None, as_json: bool, debug: bool, **given: object
    ) -> None:
        with_errors_told(
            lambda: asyncio.run(
                _begun(function, Place(Scope(TENANT, app_name, user_name), store_url, Output(as_json=as_json)), given)
            ),
            debug=debug,
        )

    parameters = [*own, *_COMMON]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = function.__doc__
    return run


async def _begun(function: Callable[..., Awaitable[None]], at: Place, given: dict[str, object]) -> None:
    await function(at, **given)


def with_errors_told(work: Callable[[], None], *, debug: bool) -> None:
    """Do the work; an error that is part of the contract becomes one sentence on stderr, and exit code 1."""
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(PIPE_CLOSED) from None
    except asyncio.CancelledError:
        raise typer.Exit(STOPPED) from None
    except ChatkeepError as error:
        if debug:
            traceback.print_exception(error)
        Output(as_json=False).note(f"chatkeep: {sentence(error)}")
        raise typer.Exit(1) from None


def sentence(error: ChatkeepError) -> str:
    """Return what went wrong and what to do about it."""
    said = " ".join(str(error).split())
    if isinstance(error, NotFound) and error.kind == "session":
        return f"{said}; `chatkeep sessions list --archived` shows which there are (mind --app and --user)"
    if isinstance(error, NotFound) and error.kind == "message":
        return f"{said}; `chatkeep messages list --all-branches` shows which there are"
    if isinstance(error, RunActive):
        return f"run {error.run_id!r} is still answering in this session; wait for it, or join it with `chatkeep chat`"
    if isinstance(error, Timeout):
        return f"{said}; whether it happened is unknown: look, then repeat it"
    return said
