"""What `chatkeep doctor` looks at, one check each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chatkeep.api.auth import LocalUser, check_binding
from chatkeep.api.serving import listen
from chatkeep.bootstrap import open_embedder
from chatkeep.cli.stores import HIDDEN, file_of, public_url
from chatkeep.domain.errors import ChatkeepError, Invalid, ModelError
from chatkeep.domain.messages import Text
from chatkeep.domain.prompts import PromptMessage
from chatkeep.engines import open_store, store_schemes
from chatkeep.models.choose import choose_model
from chatkeep.ports.models import ChatModel, ModelRequest

if TYPE_CHECKING:
    from chatkeep.settings import Settings

MODEL_SECONDS = 20.0
MOST_SKEW_SECONDS = 2.0
LEAST_FREE_BYTES = 200 * 1024 * 1024
_EXTRAS = {
    "server": "uvicorn",
    "dynamodb": "aiobotocore",
    "mongodb": "pymongo",
    "postgres": "asyncpg",
    "redis": "redis",
    "ollama": "ollama",
    "openai": "openai",
    "anthropic": "anthropic",
    "embeddings": "onnxruntime",
    "tokenizers": "tiktoken",
}

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `said` names the remedy when the verdict is not ok."""

    verdict: Verdict
    what: str
    said: str


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Tell which settings differ from their defaults, without the secret ones."""
    changed = [f"{name}={_public(name, value)}" for name, value in settings if value != _default(settings, name)]
    yield Finding("ok", "settings", ", ".join(changed) or "all as delivered")


def _default(settings: Settings, name: str) -> object:
    return type(settings).model_fields[name].default


def _public(name: str, value: object) -> str:
    if name in ("model_api_key", "cursor_secret"):
        return HIDDEN
    if name == "agents" and isinstance(value, tuple):
        return f"{len(value)} of them"
    return public_url(str(value)) if name.endswith("url") else str(value)


async def check_embeddings(settings: Settings) -> AsyncIterator[Finding]:
    """Tell whether older messages can be found by their meaning, if the settings ask for that."""
    try:
        embedder = open_embedder(settings)
        if embedder is None:
            return
        from chatkeep.embedders.minilm import is_at_hand  # noqa: PLC0415 -- an extra

        if not is_at_hand(settings.embeddings_path):
            yield Finding("ok", "embeddings", f"{embedder.name}, which the service will fetch from the hub, 90 MB")
            return
        await embedder.load()
    except (ChatkeepError, OSError) as error:
        yield Finding("fail", "embeddings", str(error))
    else:
        yield Finding("ok", "embeddings", embedder.name)


def check_folder(url: str) -> Iterator[Finding]:
    """Tell whether the file of a SQLite store can be written and has room."""
    path = file_of(url)
    if path is None:
        return
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "fail", "data folder", f"{str(folder)!r} cannot be written; change its rights, or CHATKEEP_STORE_URL"
        )
        return
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield Finding("fail", "data folder", f"{str(path)!r} cannot be written; change its rights")
        return
    free = shutil.disk_usage(folder).free
    said = f"{str(Path(folder).absolute())!r}, {free // 2**20} MiB free"
    if free < LEAST_FREE_BYTES:
        yield Finding("warn", "data folder", f"{said}; make room before the disk is full")
    else:
        yield Finding("ok", "data folder", said)


async def check_store(url: str) -> list[Finding]:
    """Tell whether the store answers, which engine it is and how its schema stands. Makes no file."""
    where = public_url(url)
    path = file_of(url)
    if path is not None and not path.exists():
        return [Finding("ok", "store", f"{where} does not exist yet; it is made at first use")]
    try:
        opened = await open_store(url, migrate=False)
        try:
            await opened.store.ping()
            facts = dict(await opened.maintenance.schema())
            ahead_seconds = _ahead_seconds(facts.pop("clock_us", None))
        finally:
            await opened.store.close()
    except ChatkeepError as error:
        return [Finding("fail", "store", f"{where}: {error}")]
    schema = ", ".join(f"{name} {value}" for name, value in facts.items())
    found = [Finding("ok", "store", f"{where}, {opened.store.engine}; schema: {schema}")]
    if abs(ahead_seconds) > MOST_SKEW_SECONDS:
        said = f"the database's clock is {ahead_seconds:+.1f} s off this machine's; let both be set by NTP"
        found.append(Finding("warn", "clock", f"{said}: leases and expiry are judged by the clocks of all processes"))
    if opened.store.engine.startswith("memory"):
        found.append(Finding("warn", "store", "it ends with the process; set CHATKEEP_STORE_URL to keep anything"))
    return found


def _ahead_seconds(clock_us: str | None) -> float:
    """Return how far a server's clock is ahead of this machine's, about; 0 for a server without one of its own."""
    return 0.0 if clock_us is None else int(clock_us) / 1e6 - time.time()


def check_engines() -> Iterator[Finding]:
    """Tell which engines and extras there are."""
    yield Finding("ok", "engines", ", ".join(f"{scheme}:" for scheme in store_schemes()))
    there = [name for name, module in _EXTRAS.items() if find_spec(module)]
    missing = [name for name in _EXTRAS if name not in there]
    said = ", ".join(there)
    if missing:
        said += f"; not installed: {', '.join(missing)} (pip install 'chatkeep[NAME]')"
    yield Finding("ok", "extras", said)


async def check_model(settings: Settings) -> Finding:
    """Ask the model for a word: only that shows that its server, its name and its key are right."""
    key = settings.model_api_key
    try:
        model, notice = await choose_model(
            settings.model,
            base_url=settings.model_base_url,
            api_key=None if key is None else key.get_secret_value(),
            timeout_seconds=min(settings.model_timeout_seconds, MODEL_SECONDS),
            words_per_second=0,
        )
    except ChatkeepError as error:
        return Finding("fail", "model", str(error))
    if notice is not None:
        return Finding("warn", "model", notice)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(model.close)
        try:
            async with asyncio.timeout(MODEL_SECONDS):
                await _ask(model)
        except ModelError as error:
            return Finding("fail", "model", str(error))
        except TimeoutError:
            return Finding("warn", "model", f"{model.name}: nothing for {MODEL_SECONDS:g} s; it may still be loading")
    return Finding("ok", "model", f"{model.name} answers")


async def _ask(model: ChatModel) -> None:
    request = ModelRequest((PromptMessage("user", (Text("Say ok."),)),), max_output_tokens=16)
    async with aclosing(model.stream(request)) as events:
        async for _event in events:
            return


def check_port(settings: Settings) -> Finding:
    """Tell whether the service could listen where it is set to."""
    where = f"port {settings.port} on {settings.host}"
    try:
        check_binding(settings.host, LocalUser())
        listen(settings.host, settings.port).close()
    except Invalid as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
            return Finding("warn", "port", f"{where} is in use: by Chatkeep, or else set CHATKEEP_PORT to a free one")
        return Finding("fail", "port", str(error))
    return Finding("ok", "port", f"{where} is free")
