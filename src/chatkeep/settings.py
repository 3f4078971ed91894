"""Settings of the service and the command line, from the environment, `.env` and `chatkeep.toml`."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from chatkeep.domain.agents import Agent
from chatkeep.domain.budgets import ContextPolicy, Relevance, Strategy
from chatkeep.domain.errors import Invalid
from chatkeep.domain.policies import PRESETS, RetentionPolicies, RetentionPolicy
from chatkeep.embedders import is_installed

PREFIX = "CHATKEEP_"
TOML_FILE = "chatkeep.toml"
ENV_FILE = ".env"
_NO_AGENTS = ' must be a JSON list of agents, such as [{"name": "helper"}]'
_SECRETS = ("model_api_key", "store_url")

Days = Annotated[float, Field(gt=0, le=36_500)]


class AgentSettings(BaseModel):
    """One agent: `CHATKEEP_AGENTS` is a JSON list of these, `chatkeep.toml` has `[[agents]]` tables."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    instructions: Annotated[str, Field(max_length=32_000)] = ""
    description: Annotated[str, Field(max_length=2_000)] = ""
    model: str | None = None

    def to_agent(self) -> Agent:
        """Return the agent as the domain knows it."""
        return Agent(**self.model_dump())


class Settings(BaseModel):
    """Each field is a setting `CHATKEEP_<NAME>`; the environment wins over `.env`, and that over `chatkeep.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_url: str | None = None
    """The database; None is a SQLite file in the user's data folder, unless `DATABASE_URL` is set."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    root_path: str = ""
    """The path under which a proxy serves Chatkeep, such as `/chat`."""

    model: str | None = None
    """`echo`, `ollama:NAME`, `openai:NAME`, `anthropic:NAME`; None: a local Ollama if one answers, else `echo`."""
    models: tuple[str, ...] = ()
    """Further models that a caller may choose, separated by commas."""
    model_base_url: str | None = None
    model_api_key: SecretStr | None = None
    """None: the variable that the provider's own client reads."""
    model_timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 120
    echo_words_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = 50
    assist: bool = True
    """Whether the model also writes titles and suggestions."""
    agents: tuple[AgentSettings, ...] = ()

    context_strategy: Strategy = "anchored"
    context_relevance: Relevance | None = None
    """None: `hybrid` where the extra `embeddings` is installed, else `bm25`."""
    embeddings_path: Path | None = None
    """The folder of the embedding model; None: an installed package of it, or the Hugging Face hub."""
    """How older messages are picked to be quoted."""
    context_tmax_tokens: Annotated[int, Field(ge=256, le=10_000_000)] = 8192
    context_tretained_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 4096
    context_recent: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Messages in full, and below those in one summary, for `window_summary`."""
    context_summary: Annotated[int, Field(ge=1, le=1_000)] = 5
    context_max_messages: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Messages for `recent`."""
    summarizer: Literal["auto", "model", "extractive", "off"] = "auto"
    """Who writes summaries; `auto`: the model where it can, else the extractive one."""

    retention: Literal["keep", "platform", "agent"] = "keep"
    session_ttl_days: Days | None = None
    history_ttl_days: Days | None = None
    max_messages: Annotated[int, Field(ge=2)] | None = None
    keep_last_sessions: Annotated[int, Field(ge=1)] | None = None
    trash_days: Days = 7
    cleanup_interval_seconds: Annotated[float, Field(gt=0)] = 60

    cursor_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Signs page cursors; at least 32 characters. None: a key file beside the data, made at first use."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("agents", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, list | tuple):
            raise ValueError(_NO_AGENTS)  # noqa: TRY004 -- what pydantic reports
        return parsed

    @field_validator("agents")
    @classmethod
    def _check_names(cls, value: tuple[AgentSettings, ...]) -> tuple[AgentSettings, ...]:
        names = [agent.name for agent in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two agents {name!r}; give each a name of its own")
        return value

    def url(self) -> str:
        """Return the URL of the store."""
        return self.store_url or default_store_url()

    def context_policy(self) -> ContextPolicy:
        """Return how contexts are chosen."""
        return ContextPolicy(
            strategy=self.context_strategy,
            relevance=self.context_relevance or ("hybrid" if is_installed() else "bm25"),
            tmax_tokens=self.context_tmax_tokens,
            tretained_tokens=self.context_tretained_tokens,
            recent=self.context_recent,
            summarised=self.context_summary,
            max_messages=self.context_max_messages,
            summaries=self.summarizer != "off",
        )

    def policies(self) -> RetentionPolicies:
        """Return the retention of all apps: the preset, changed by the single numbers that are set."""
        preset = PRESETS[self.retention]
        return RetentionPolicies(
            RetentionPolicy(
                idle_ttl=_days(self.session_ttl_days, preset.idle_ttl),
                max_age=_days(self.history_ttl_days, preset.max_age),
                max_messages=self.max_messages or preset.max_messages,
                keep_last_sessions=self.keep_last_sessions or preset.keep_last_sessions,
                trash=timedelta(days=self.trash_days),
            )
        )


def _days(value: float | None, otherwise: timedelta | None) -> timedelta | None:
    return otherwise if value is None else timedelta(days=value)


def default_store_url() -> str:
    """Return the URL of the SQLite file in the user's data folder."""
    return f"sqlite:///{quote(str(user_data_path('chatkeep') / 'chatkeep.db'))}"


def load_settings(**given: object) -> Settings:
    """Read the settings; `given` ones win. Raises Invalid, in one sentence for each fault, saying what to do.

    An empty variable is as good as none. Where no store is set, `DATABASE_URL` of the environment or of `.env` is it.
    """
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    in_file = _dotenv()
    for field, place, value in (
        *_from_toml(),
        *_from_variables(in_file, f" in {ENV_FILE}"),
        *_from_variables(os.environ, ""),
        *((name, name, value) for name, value in given.items()),
    ):
        values[field], places[field] = value, place
    database_url = os.environ.get("DATABASE_URL") or in_file.get("DATABASE_URL")
    if database_url:
        values.setdefault("store_url", database_url)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise Invalid("; ".join(_sentence(fault, places) for fault in error.errors(include_url=False))) from error


def _dotenv() -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{ENV_FILE} cannot be read: {error}") from error


def _from_variables(variables: Mapping[str, str], where: str) -> Iterator[tuple[str, str, object]]:
    for name, value in variables.items():
        if not name.upper().startswith(PREFIX):
            continue
        field = name[len(PREFIX) :].lower()
        if field not in Settings.model_fields:
            raise Invalid(f"there is no setting {name}{where}{_similar(field, PREFIX)}", field=name)
        if value:
            yield field, name + where, value


def _from_toml() -> Iterator[tuple[str, str, object]]:
    try:
        text = Path(TOML_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{TOML_FILE} cannot be read: {error}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{TOML_FILE} is no TOML: {error}") from error
    for field, value in table.items():
        if field not in Settings.model_fields:
            raise Invalid(f"there is no setting {field} in {TOML_FILE}{_similar(field, '')}", field=field)
        yield field, f"{field} in {TOML_FILE}", value


def _similar(field: str, prefix: str) -> str:
    close = difflib.get_close_matches(field, Settings.model_fields, n=1)
    return f"; did you mean {prefix}{close[0].upper() if prefix else close[0]}?" if close else ""


def _sentence(fault: ErrorDetails, places: Mapping[str, str]) -> str:
    field, *inside = fault["loc"]
    place = places.get(str(field), str(field))
    if inside:
        return f"{place}: {'.'.join(map(str, inside))}: {fault['msg']}"
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {place}{_similar(str(field), '')}"
    if fault["type"] == "value_error":
        said = str(fault["ctx"]["error"])
        return f"{place}{'' if said.startswith(' must') else ': '}{said}"
    if field == "cursor_secret":
        return f"{place} must have at least 32 characters; `openssl rand -hex 32` makes one"
    wanted = _wanted(str(field))
    if wanted is None:
        return f"{place}: {fault['msg']}"
    return f"{place} must be {wanted}" + ("" if field in _SECRETS else f", not {fault['input']!r}")


def _wanted(field: str) -> str | None:
    """Return in words what a single value of the field may be."""
    schema: dict[str, Any] = Settings.model_json_schema()["properties"][field]
    schema = schema.get("anyOf", [schema])[0]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    words = kind.get(schema["type"])
    bounds = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
    limits = [f"{word} {schema[bound]}" for bound, word in bounds if bound in schema]
    return f"{words}, {' and '.join(limits)}" if words and limits else words
