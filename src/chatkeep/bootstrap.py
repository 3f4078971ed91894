"""From settings to a running application: the only place that names engines, each imported when it is chosen."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict
from urllib.parse import unquote

from chatkeep.domain.budgets import DEFAULT_CONTEXT, ContextPolicy
from chatkeep.domain.errors import ChatkeepError, Invalid, NotSupported
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.ports.models import ChatModel
from chatkeep.ports.store import Maintenance, SearchIndex, Store
from chatkeep.services.context import ContextService
from chatkeep.services.fork import ForkService
from chatkeep.services.history import HistoryService
from chatkeep.services.mine import MineService
from chatkeep.services.retention import Janitor, RetentionService
from chatkeep.services.search import SearchService
from chatkeep.services.sessions import SessionService
from chatkeep.services.transfer import TransferService

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from chatkeep.domain.reports import Report
    from chatkeep.domain.runs import Run
    from chatkeep.ports.embedder import Embedder
    from chatkeep.ports.summarizer import Summarizer
    from chatkeep.ports.tokenizer import Tokenizer
    from chatkeep.services.agents import AgentService
    from chatkeep.services.chat import ChatService
    from chatkeep.services.compaction import Made
    from chatkeep.services.incognito import IncognitoService
    from chatkeep.settings import Settings

_log = logging.getLogger(__name__)

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """An engine, as its three roles. `search` None: search is a bounded scan."""

    store: Store
    maintenance: Maintenance
    search: SearchIndex | None = None


class StoreOpener(Protocol):
    """Opens the store of a URL."""

    def __call__(self, url: str, clock: Clock, *, migrate: bool) -> Awaitable[OpenedStore]:
        """Open the store; `migrate` false refuses an older schema with NotSupported instead of bringing it up to date.

        Raises Invalid for a URL it cannot read, NotSupported, Unavailable.
        """


_openers: dict[str, StoreOpener] = {}


def register_store(scheme: str) -> Callable[[StoreOpener], StoreOpener]:
    """Register, as a decorator, the opener of every URL that begins with `scheme:`.

    A package that ships an engine names its opener in the entry-point group `chatkeep.stores`, under the scheme.
    """

    def add(opener: StoreOpener) -> StoreOpener:
        _openers[scheme.lower()] = opener
        return opener

    return add


async def open_store(url: str, clock: Clock = system_clock, *, migrate: bool = True) -> OpenedStore:
    """Open the store that `url` names, as StoreOpener says.

    Raises Invalid for an unknown scheme, NotSupported when an extra is missing.
    """
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    opener = _openers.get(scheme)
    if opener is None and colon:
        opener = next((found.load() for found in _entry_points() if found.name == scheme), None)
    if opener is None:
        named = f"no engine for the store URL scheme {scheme!r}" if colon else "a store URL begins with its engine"
        known = ", ".join(f"{name}:" for name in store_schemes())
        raise Invalid(f"{named}; known are {known} (as in sqlite:///chats.db)", field="store_url")
    return await opener(url, clock, migrate=migrate)


def store_schemes() -> list[str]:
    """Return the URL schemes that an engine is registered for."""
    return sorted({*_openers, *(found.name for found in _entry_points())})


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and needed for engines of others only

    return entry_points(group="chatkeep.stores")


@register_store("memory")
async def _open_memory(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:  # noqa: ARG001 -- it is always new
    from chatkeep.stores.memory import MemoryStore  # noqa: PLC0415 -- engines load when chosen

    if url not in ("memory:", "memory://"):
        raise Invalid("the URL of the memory store is memory://", field="store_url")
    store = MemoryStore(clock=clock)
    return OpenedStore(store, store)


@register_store("sqlite")
async def _open_sqlite(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    from chatkeep.stores.sqlite import open_sqlite  # noqa: PLC0415 -- engines load when chosen

    store = await open_sqlite(sqlite_path(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store, store)


@register_store("dynamodb")
async def _open_dynamodb(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.dynamodb import Address, open_dynamodb  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the DynamoDB store needs an extra: pip install 'chatkeep[dynamodb]'") from error

    store = await open_dynamodb(Address.of_url(url), clock=clock)
    try:
        await (store.create_tables() if migrate else store.ping())
    except BaseException:
        await store.close()
        raise
    return OpenedStore(store, store)


@register_store("mongodb")
@register_store("mongodb+srv")
async def _open_mongodb(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.mongodb import Address, open_mongodb  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the MongoDB store needs an extra: pip install 'chatkeep[mongodb]'") from error

    store = await open_mongodb(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store)


async def _open_redis(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.redis import Address, open_redis  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the Redis store needs an extra: pip install 'chatkeep[redis]'") from error

    store = await open_redis(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store)


for _scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
    register_store(_scheme)(_open_redis)


@register_store("postgres")
@register_store("postgresql")
async def _open_postgres(url: str, clock: Clock, *, migrate: bool) -> OpenedStore:
    try:
        from chatkeep.stores.postgres import Address, open_postgres  # noqa: PLC0415 -- engines load when chosen
    except ModuleNotFoundError as error:
        raise NotSupported("the PostgreSQL store needs an extra: pip install 'chatkeep[postgres]'") from error

    store = await open_postgres(Address.of_url(url), clock=clock, migrate=migrate)
    return OpenedStore(store, store, store)


def sqlite_path(url: str) -> Path:
    """Return the file of a `sqlite:///relative.db` or `sqlite:////absolute.db` URL. Raises Invalid."""
    prefix = "sqlite:///"
    path = unquote(url[len(prefix) :])
    if path == ":memory:":
        raise Invalid("for a store that is lost with its process write memory://", field="store_url")
    if url[: len(prefix)].lower() != prefix or path[-1:] in ("", "/") or "\0" in path or "?" in url or "#" in url:
        hint = "write sqlite:///chats.db or sqlite:////var/lib/chats.db, with %23 for # and %3F for ?"
        raise Invalid(f"{url!r} is no SQLite URL; {hint}", field="store_url")
    return Path(path)


class Models:
    """The models of a deployment, opened by its owner; the first is the default."""

    def __init__(self, default: ChatModel, *others: ChatModel) -> None:
        self._default = default
        self._opened = {model.name: model for model in (default, *others)}

    def names(self) -> Sequence[str]:
        """Return what can be chosen; the first is the default."""
        return tuple(self._opened)

    def get(self, name: str | None) -> ChatModel:
        """Return the model. Raises Invalid."""
        if name is None:
            return self._default
        if name not in self._opened:
            raise Invalid(f"model {name!r} cannot be chosen here; offered are {', '.join(self._opened)}", field="model")
        return self._opened[name]


class ModelOptions(TypedDict):
    """How every model of a deployment is reached."""

    base_url: str | None
    api_key: str | None
    timeout_seconds: float
    words_per_second: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """The services that need a store alone: what the library offers."""

    opened: OpenedStore
    clock: Clock
    policies: RetentionPolicies
    sessions: SessionService
    history: HistoryService
    fork: ForkService
    mine: MineService
    search: SearchService
    transfer: TransferService
    retention: RetentionService
    context: ContextService


@dataclass(frozen=True, slots=True)
class Application:
    """Everything a server needs. `notice` is for the operator: why the echo model answers."""

    keeping: Keeping
    models: Models
    agents: AgentService
    chat: ChatService
    incognito: IncognitoService
    notice: str | None


def keeping(
    opened: OpenedStore,
    clock: Clock,
    policies: RetentionPolicies,
    context: ContextPolicy = DEFAULT_CONTEXT,
    on_context: Callable[[Report], None] = lambda _report: None,
    embedder: Embedder | None = None,
    tokenizer_of: Callable[[str], Tokenizer | None] = lambda _model: None,
) -> Keeping:
    """Put the services together over an open store. The context service is the caller's to close."""
    store = opened.store
    return Keeping(
        opened=opened,
        clock=clock,
        policies=policies,
        sessions=SessionService(store, clock, policies),
        history=HistoryService(store, policies),
        fork=ForkService(store, clock),
        mine=MineService(store),
        search=SearchService(store, opened.search),
        transfer=TransferService(store, clock, idle_ttl=lambda scope: policies.of(scope.app).idle_ttl),
        retention=RetentionService(store, opened.maintenance, clock, policies),
        context=ContextService(
            store,
            clock,
            context,
            on_prompt=on_context,
            embedder=embedder,
            tokenizer_of=tokenizer_of,
        ),
    )


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    clock: Clock = system_clock,
    on_run_end: Callable[[Run], None] = lambda _run: None,
    on_created: Callable[[], None] = lambda: None,
    on_context: Callable[[Report], None] = lambda _report: None,
    on_made: Callable[[Made], None] = lambda _made: None,
) -> AsyncIterator[Application]:
    """Open everything that `settings` name, keep the janitor at work, and close all of it at the end, in order.

    `on_run_end` and `on_created` are told of each run that ends here, and of each session that a chat begins;
    `on_context` of each prompt, and `on_made` of each summary.
    """
    # Here, because the library alone needs none of them, and it shall be imported fast.
    from chatkeep.models.choose import choose_model, open_model  # noqa: PLC0415 -- see above
    from chatkeep.services.agents import AgentService  # noqa: PLC0415 -- see above
    from chatkeep.services.chat import ChatService  # noqa: PLC0415 -- see above
    from chatkeep.services.compaction import Compactor  # noqa: PLC0415 -- see above
    from chatkeep.services.generation import GenerationSettings  # noqa: PLC0415 -- see above
    from chatkeep.services.incognito import IncognitoService  # noqa: PLC0415 -- see above

    async with contextlib.AsyncExitStack() as stack:
        opened = await open_store(settings.url(), clock)
        stack.push_async_callback(opened.store.close)
        key = settings.model_api_key
        how = ModelOptions(
            base_url=settings.model_base_url,
            api_key=None if key is None else key.get_secret_value(),
            timeout_seconds=settings.model_timeout_seconds,
            words_per_second=settings.echo_words_per_second,
        )
        default, notice = await choose_model(settings.model, **how)
        stack.push_async_callback(default.close)
        others: list[ChatModel] = []
        for name in dict.fromkeys((*settings.models, *(agent.model for agent in settings.agents if agent.model))):
            if name != default.name:
                others.append(open_model(name, **how))
                stack.push_async_callback(others[-1].close)
        models = Models(default, *others)
        embedder = open_embedder(settings)
        kept = keeping(
            opened, clock, settings.policies(), settings.context_policy(), on_context, embedder, _vocabularies()
        )
        stack.push_async_callback(kept.context.close)
        if embedder is not None:
            loading = asyncio.create_task(_loaded(embedder), name="embeddings")
            stack.push_async_callback(_stopped, loading)
        agents = AgentService(opened.store, [agent.to_agent() for agent in settings.agents])
        compactor = Compactor(
            opened.store,
            clock,
            kept.context.policy,
            _summarizer(settings, default),
            fixed_tokens=kept.context.fixed_tokens,
            on_made=on_made,
        )
        generation = GenerationSettings(assist=settings.assist)
        chat = ChatService(
            opened.store,
            kept.policies,
            models,
            agents,
            kept.context,
            generation,
            on_end=on_run_end,
            on_created=on_created,
            on_answer=compactor.notify,
        )
        incognito = IncognitoService(models, agents, kept.context.policy)
        stack.push_async_callback(chat.close)
        janitor = Janitor(kept.retention, opened.maintenance, chat.pick_up, every=settings.cleanup_interval_seconds)
        work = asyncio.create_task(janitor.work(), name="janitor")
        stack.push_async_callback(_stopped, work)
        compaction = asyncio.create_task(compactor.work(), name="compaction")
        stack.push_async_callback(_stopped, compaction)
        yield Application(kept, models, agents, chat, incognito, notice)


def _vocabularies() -> Callable[[str], Tokenizer | None]:
    """Return what gives the vocabulary of a model, where the extra `tokenizers` is there."""
    try:
        from chatkeep.tokens.openai import Vocabularies  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError:
        return lambda _model: None
    return Vocabularies().of


def open_embedder(settings: Settings) -> Embedder | None:
    """Return the embedder that the settings ask for, not loaded yet, or None. Raises NotSupported without the extra."""
    if settings.context_policy().relevance not in ("embedding", "hybrid"):
        return None
    try:
        from chatkeep.embedders.minilm import MiniLM  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        raise NotSupported("relevance by embeddings needs an extra: pip install 'chatkeep[embeddings]'") from error
    return MiniLM(settings.embeddings_path)


async def _loaded(embedder: Embedder) -> None:
    try:
        await embedder.load()
    except ChatkeepError as error:
        _log.warning("older messages are chosen by words alone: %s", error)
    except Exception:  # noqa: BLE001 -- logged whole; an answer does without
        _log.exception("older messages are chosen by words alone")


def _summarizer(settings: Settings, model: ChatModel) -> Summarizer:
    from chatkeep.summarizers.extractive import ExtractiveSummarizer  # noqa: PLC0415 -- a server's matter only
    from chatkeep.summarizers.model import ModelSummarizer  # noqa: PLC0415 -- the same

    if settings.summarizer == "model" or (settings.summarizer == "auto" and model.can_assist):
        return ModelSummarizer(model)
    return ExtractiveSummarizer()


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def cursor_secret(settings: Settings) -> bytes:
    """Return the key that signs cursors: the setting, else that of a key file which only its owner can read.

    The file is made at first use. Raises Invalid for a file that holds no key.
    """
    if settings.cursor_secret is not None:
        return settings.cursor_secret.get_secret_value().encode()
    url = settings.url()
    if not url.startswith("sqlite:"):
        _log.warning("page cursors end with this process; set CHATKEEP_CURSOR_SECRET to keep them, on all workers")
        return secrets.token_bytes(_KEY_BYTES)
    path = sqlite_path(url).with_suffix(".cursor-key")
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise Invalid(f"{str(path)!r} holds no key; remove it, and a new one is made")
    return key


def _make_key(path: Path) -> None:
    """Put a new key at `path`, whole from its first moment; one that another process was faster with stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            Path(path).hardlink_to(draft)
    finally:
        Path(draft).unlink()
