"""From settings to a running application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from chatkeep.domain.budgets import DEFAULT_CONTEXT, ContextPolicy
from chatkeep.domain.errors import ChatkeepError, Invalid, NotSupported
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.engines import OpenedStore, open_store
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.ports.models import ChatModel
from chatkeep.services.context import ContextService
from chatkeep.services.fork import ForkService
from chatkeep.services.history import HistoryService
from chatkeep.services.mine import MineService
from chatkeep.services.retention import Janitor, RetentionService
from chatkeep.services.search import SearchService
from chatkeep.services.sessions import SessionService
from chatkeep.services.transfer import TransferService

if TYPE_CHECKING:
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
