"""From the choice in the settings to a model. Each kind of model is imported when it is chosen, not before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from chatkeep.domain.errors import Invalid, NotSupported
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import ChatModel

_CHOICES = "choose echo, ollama:NAME, openai:NAME or anthropic:NAME"
_PROBE_SECONDS = 1.0
_PREFERRED = ("qwen", "llama", "gemma", "mistral", "gpt-oss", "phi")
_EMBEDDERS = ("embed", "minilm", "bge-", "e5-")
_ECHO = "the offline echo model answers, because"
_HOW_TO_CHOOSE = "for a real model set CHATKEEP_MODEL to ollama:NAME, openai:NAME or anthropic:NAME"


def open_model(
    choice: str,
    *,
    base_url: str | None,
    api_key: str | None,
    timeout_seconds: float,
    words_per_second: float,
) -> ChatModel:
    """Return the model of a choice such as `echo` or `ollama:qwen2.5:7b`; the caller closes it. Does no I/O.

    `base_url` and `api_key` None leave the defaults of the kind of model, `words_per_second` is the echo model's pace.
    Raises Invalid for a choice that names none, and NotSupported if the extra that it needs is not installed.
    """
    kind, _, name = choice.partition(":")
    if base_url is not None:
        _check_url(base_url)
    if kind == "echo" and not name:
        return EchoModel(words_per_second)
    if kind not in ("ollama", "openai", "anthropic") or not name:
        raise Invalid(f"there is no model {choice!r}; {_CHOICES}", field="model")
    if kind == "ollama":
        with _extra(kind):
            from chatkeep.models.ollama import OllamaModel  # noqa: PLC0415 - an extra
        return OllamaModel(name, base_url=base_url, timeout_seconds=timeout_seconds)
    if kind == "openai":
        with _extra(kind):
            from chatkeep.models.openai import OpenAIModel  # noqa: PLC0415 - an extra
        return OpenAIModel(name, base_url=base_url, api_key=api_key, timeout_seconds=timeout_seconds)
    with _extra(kind):
        from chatkeep.models.anthropic import AnthropicModel  # noqa: PLC0415 - an extra
    return AnthropicModel(name, base_url=base_url, api_key=api_key, timeout_seconds=timeout_seconds)


async def choose_model(
    setting: str | None,
    *,
    base_url: str | None,
    api_key: str | None,
    timeout_seconds: float,
    words_per_second: float,
) -> tuple[ChatModel, str | None]:
    """Return the model to start with, and a notice for the operator if nothing but `echo` was found.

    It is the one of the setting, else the best one of an Ollama server that answers within a second at `base_url` or
    at the usual place on this machine, else `echo`. Errors as of `open_model`.
    """
    found, notice = setting, None
    if found is None:
        found, notice = await _local_choice(base_url)
    model = open_model(
        found,
        base_url=base_url,
        api_key=api_key,
        timeout_seconds=timeout_seconds,
        words_per_second=words_per_second,
    )
    return model, notice


def preferred(names: list[str]) -> str | None:
    """Return the one to chat with: of the first family that is known to chat well, else the first; None if none can."""
    chatting = [name for name in names if not any(mark in name.lower() for mark in _EMBEDDERS)]
    known = (name for family in _PREFERRED for name in chatting if family in name.lower())
    return next(known, next(iter(chatting), None))


async def _local_choice(base_url: str | None) -> tuple[str, str | None]:
    if base_url is not None:
        _check_url(base_url)
    try:
        with _extra("ollama"):
            from chatkeep.models.ollama import DEFAULT_BASE_URL, reachable  # noqa: PLC0415 - an extra
    except NotSupported as error:
        return "echo", f"{_ECHO} {error}; {_HOW_TO_CHOOSE}"
    place = base_url or DEFAULT_BASE_URL
    names = await reachable(place, _PROBE_SECONDS)
    if names is None:
        return "echo", f"{_ECHO} no Ollama runs at {place}; {_HOW_TO_CHOOSE}"
    best = preferred(names)
    if best is None:
        hint = "`ollama pull qwen2.5:7b` installs one"
        return "echo", f"{_ECHO} the Ollama at {place} has no chat model; {hint}; {_HOW_TO_CHOOSE}"
    return f"ollama:{best}", None


@contextmanager
def _extra(kind: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("chatkeep"):
            raise
        raise NotSupported(f"{kind} models need an extra: pip install 'chatkeep[{kind}]'") from error


def _check_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or any(character.isspace() for character in base_url):
        raise Invalid(f"the base URL {base_url!r} must look like http://127.0.0.1:11434", field="base_url")
