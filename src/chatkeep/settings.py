"""Settings of the service and the command line, from the environment, `.env` and `chatkeep.toml`."""

from __future__ import annotations

import difflib
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from chatkeep.domain.agents import Agent
from chatkeep.domain.errors import Invalid
from chatkeep.domain.policies import PRESETS, RetentionPolicies, RetentionPolicy

PREFIX = "CHATKEEP_"
TOML_FILE = "chatkeep.toml"
ENV_FILE = ".env"

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


class Settings(BaseSettings):
    """Each field is a setting `CHATKEEP_<NAME>`; the environment wins over `.env`, and that over `chatkeep.toml`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    store_url: str | None = None
    """The database; None is a SQLite file in the user's data folder, unless `DATABASE_URL` is set."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    root_path: str = ""
    """The path under which a proxy serves Chatkeep, such as `/chat`."""

    model: str | None = None
    """`echo`, `ollama:NAME`, `openai:NAME`, `anthropic:NAME`; None: a local Ollama if one answers, else `echo`."""
    models: Annotated[tuple[str, ...], NoDecode] = ()
    """Further models that a caller may choose, separated by commas."""
    model_base_url: str | None = None
    model_api_key: SecretStr | None = None
    """None: the variable that the provider's own client reads."""
    model_timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 120
    echo_words_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = 50
    assist: bool = True
    """Whether the model also writes titles and suggestions."""
    agents: tuple[AgentSettings, ...] = ()

    context_tmax_tokens: Annotated[int, Field(ge=256, le=10_000_000)] = 8192

    retention: Literal["keep", "platform", "agent"] = "keep"
    session_ttl_days: Days | None = None
    history_ttl_days: Days | None = None
    max_messages: Annotated[int, Field(ge=2)] | None = None
    keep_last_sessions: Annotated[int, Field(ge=1)] | None = None
    trash_days: Days = 7
    cleanup_interval_seconds: Annotated[float, Field(gt=0)] = 60

    cursor_secret: SecretStr | None = None
    """Signs page cursors; at least 32 characters. None: a key file beside the data, made at first use."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- it would refuse other programs' variables
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- not offered
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(TOML_FILE))

    def url(self) -> str:
        """Return the URL of the store."""
        return self.store_url or os.environ.get("DATABASE_URL") or default_store_url()

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
    return f"sqlite:///{user_data_path('chatkeep') / 'chatkeep.db'}"


def load_settings(**given: object) -> Settings:
    """Read the settings; `given` ones win. Raises Invalid, in one sentence for each fault, saying what to do."""
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    for name in (*os.environ, *from_file):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in Settings.model_fields:
            raise Invalid(f"there is no setting {name}{_similar(name)}", field=name)
    for name, value in from_file.items():
        if name.startswith(PREFIX) or name == "DATABASE_URL":
            os.environ.setdefault(name, value)
    try:
        return Settings.model_validate({}) if not given else Settings(**given)  # type: ignore[arg-type]  # judged by pydantic
    except ValidationError as error:
        raise Invalid("; ".join(map(_sentence, error.errors(include_url=False)))) from error


def _similar(name: str) -> str:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(fault: object) -> str:
    assert isinstance(fault, dict)  # noqa: S101 -- pydantic's own form
    name = PREFIX + ".".join(str(place).upper() for place in fault["loc"])
    return f"{name}: {fault['msg']}"
