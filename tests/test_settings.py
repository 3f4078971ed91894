from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.policies import AGENT, PLATFORM, RetentionPolicy
from chatkeep.engines import sqlite_path
from chatkeep.settings import Settings, default_store_url, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment without settings."""
    for name in list(os.environ):
        if name.upper().startswith("CHATKEEP_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_chatkeep_is_a_local_service_on_one_file() -> None:
    settings = load_settings()

    assert (settings.host, settings.port, settings.model, settings.retention) == ("127.0.0.1", 8000, None, "keep")
    assert settings.url() == default_store_url()
    assert sqlite_path(settings.url()).is_absolute()
    assert settings.policies().of("any") == RetentionPolicy()


@pytest.mark.parametrize(("installed", "relevance"), [(True, "hybrid"), (False, "bm25")])
def test_meaning_counts_where_the_extra_is_installed(
    monkeypatch: pytest.MonkeyPatch, *, installed: bool, relevance: str
) -> None:
    monkeypatch.setattr("chatkeep.settings.is_installed", lambda: installed)

    assert load_settings().context_policy().relevance == relevance


def test_what_is_given_wins_over_the_environment_over_dotenv_over_toml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "chatkeep.toml").write_text('port = 1\nhost = "t"\nmodel = "toml"\nroot_path = "/t"\n')
    (folder / ".env").write_text("CHATKEEP_PORT=2\nCHATKEEP_HOST=d\nexport CHATKEEP_MODEL='dotenv'\n")
    monkeypatch.setenv("CHATKEEP_PORT", "3")
    monkeypatch.setenv("CHATKEEP_HOST", "e")

    settings = load_settings(port=4)

    assert (settings.port, settings.host, settings.model, settings.root_path) == (4, "e", "dotenv", "/t")


def test_loading_leaves_the_environment_as_it_was(folder: Path) -> None:
    (folder / ".env").write_text("CHATKEEP_PORT=2\nDATABASE_URL=sqlite:///x.db\nOTHER=1\n")
    before = dict(os.environ)

    load_settings()

    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CHATKEEP_STORE_ULR", "did you mean CHATKEEP_STORE_URL?"),
        ("CHATKEEP_PROT", "did you mean CHATKEEP_PORT?"),
        ("chatkeep_prot", "did you mean CHATKEEP_PORT?"),
    ],
)
def test_an_unknown_setting_is_an_error_with_a_suggestion(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(Invalid) as from_environment:
        load_settings()
    monkeypatch.delenv(name)
    (folder / ".env").write_text(f"{name}=1\n")
    with pytest.raises(Invalid) as from_file:
        load_settings()

    assert str(from_environment.value) == f"there is no setting {name}; {hint}"
    assert str(from_file.value) == f"there is no setting {name} in .env; {hint}"


def test_a_name_like_no_setting_is_an_error_without_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_XYZZY", "1")

    with pytest.raises(Invalid, match=r"^there is no setting CHATKEEP_XYZZY$"):
        load_settings()


def test_an_unknown_key_of_the_toml_file_is_an_error_with_a_suggestion(folder: Path) -> None:
    (folder / "chatkeep.toml").write_text("prot = 1\n")

    with pytest.raises(Invalid, match=r"^there is no setting prot in chatkeep.toml; did you mean port\?$"):
        load_settings()


def test_variables_of_other_programs_are_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("PORT=1\nOPENAI_API_KEY=x\nPORT_CHATKEEP_=1\nMALFORMED\n")
    monkeypatch.setenv("HOST", "0.0.0.0")  # noqa: S104 -- ignored

    settings = load_settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_an_empty_variable_is_as_good_as_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CHATKEEP_HOST=\nCHATKEEP_PORT=2\n")
    monkeypatch.setenv("CHATKEEP_PORT", "")
    monkeypatch.setenv("CHATKEEP_STORE_URL", "")

    settings = load_settings()

    assert (settings.host, settings.port, settings.store_url) == ("127.0.0.1", 2, None)


def test_the_database_url_is_used_where_no_store_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("DATABASE_URL=sqlite:///dotenv.db\n")
    from_file = load_settings().url()
    monkeypatch.setenv("DATABASE_URL", "sqlite:///environment.db")
    from_environment = load_settings().url()
    (folder / "chatkeep.toml").write_text('store_url = "memory://"\n')

    assert from_file == "sqlite:///dotenv.db"
    assert from_environment == "sqlite:///environment.db"
    assert load_settings().url() == "memory://"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "http", "CHATKEEP_PORT must be a whole number, at least 0 and at most 65535, not 'http'"),
        ("PORT", "99999", "CHATKEEP_PORT must be a whole number, at least 0 and at most 65535, not '99999'"),
        ("PORT", "80.5", "CHATKEEP_PORT must be a whole number, at least 0 and at most 65535, not '80.5'"),
        ("RETENTION", "forever", "CHATKEEP_RETENTION must be one of keep, platform, agent, not 'forever'"),
        ("ASSIST", "maybe", "CHATKEEP_ASSIST must be true or false, not 'maybe'"),
        ("SESSION_TTL_DAYS", "0", "CHATKEEP_SESSION_TTL_DAYS must be a number, above 0 and at most 36500, not '0'"),
        ("SESSION_TTL_DAYS", "nan", "CHATKEEP_SESSION_TTL_DAYS must be a number, above 0 and at most 36500, not 'nan'"),
        ("MAX_MESSAGES", "1", "CHATKEEP_MAX_MESSAGES must be a whole number, at least 2, not '1'"),
        (
            "CURSOR_SECRET",
            "short",
            "CHATKEEP_CURSOR_SECRET must have at least 32 characters; `openssl rand -hex 32` makes one",
        ),
        ("AGENTS", "[", 'CHATKEEP_AGENTS must be a JSON list of agents, such as [{"name": "helper"}]'),
        ("AGENTS", '{"a": 1}', 'CHATKEEP_AGENTS must be a JSON list of agents, such as [{"name": "helper"}]'),
        (
            "AGENTS",
            '[{"name": "a"}, {"name": "a"}]',
            "CHATKEEP_AGENTS: there are two agents 'a'; give each a name of its own",
        ),
        (
            "AGENTS",
            '[{"title": "a"}]',
            "CHATKEEP_AGENTS: 0.name: Field required; CHATKEEP_AGENTS: 0.title: Extra inputs are not permitted",
        ),
    ],
)
def test_a_bad_value_is_told_in_a_sentence_that_names_the_variable_and_what_it_may_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"CHATKEEP_{name}", value)

    with pytest.raises(Invalid) as refused:
        load_settings()

    assert str(refused.value) == sentence


def test_a_bad_value_names_the_file_it_stands_in(folder: Path) -> None:
    (folder / "chatkeep.toml").write_text('port = "x"\n')
    (folder / ".env").write_text("CHATKEEP_ASSIST=x\n")

    with pytest.raises(Invalid) as refused:
        load_settings()

    assert "port in chatkeep.toml must be a whole number" in str(refused.value)
    assert "CHATKEEP_ASSIST in .env must be true or false" in str(refused.value)


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_PORT", "x")
    monkeypatch.setenv("CHATKEEP_ASSIST", "x")

    with pytest.raises(Invalid) as refused:
        load_settings(log_level="loud")

    assert len(str(refused.value).split("; ")) == 3


def test_no_message_and_no_repr_shows_a_secret(folder: Path) -> None:
    (folder / "chatkeep.toml").write_text("model_api_key = 4711\n")

    with pytest.raises(Invalid) as refused:
        load_settings()

    assert "4711" not in str(refused.value)
    assert "hunter2" not in repr(Settings.model_validate({"model_api_key": "hunter2"}))


@pytest.mark.parametrize("text", ["port =", b"\xff\xfe"])
def test_a_broken_toml_file_is_told(folder: Path, text: str | bytes) -> None:
    (folder / "chatkeep.toml").write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(Invalid, match=r"^chatkeep\.toml "):
        load_settings()


def test_a_broken_dotenv_file_is_told(folder: Path) -> None:
    (folder / ".env").write_bytes(b"CHATKEEP_PORT=\xff\n")

    with pytest.raises(Invalid, match=r"^\.env cannot be read"):
        load_settings()


def test_agents_and_models_come_from_variables_and_from_toml(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chatkeep.toml").write_text(
        'models = ["openai:a"]\n\n[[agents]]\nname = "billing"\ndescription = "refunds"\n\n'
        '[[agents]]\nname = "travel"\n'
    )
    from_toml = load_settings()
    monkeypatch.setenv("CHATKEEP_MODELS", "ollama:qwen2.5:7b, openai:b,")
    monkeypatch.setenv("CHATKEEP_AGENTS", json.dumps([{"name": "one", "model": "openai:b"}]))
    from_environment = load_settings()

    assert from_toml.models == ("openai:a",)
    assert [agent.to_agent().name for agent in from_toml.agents] == ["billing", "travel"]
    assert from_environment.models == ("ollama:qwen2.5:7b", "openai:b")
    assert [agent.to_agent().model for agent in from_environment.agents] == ["openai:b"]


def test_single_numbers_change_a_retention_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_RETENTION", "platform")
    platform = load_settings().policies().of("any")
    monkeypatch.setenv("CHATKEEP_SESSION_TTL_DAYS", "0.5")
    monkeypatch.setenv("CHATKEEP_KEEP_LAST_SESSIONS", "50")
    changed = load_settings().policies().of("any")

    assert platform == PLATFORM
    assert changed == RetentionPolicy(idle_ttl=timedelta(hours=12), max_age=PLATFORM.max_age, keep_last_sessions=50)
    assert load_settings(retention="agent", session_ttl_days=7, keep_last_sessions=None).policies().of("x") == AGENT


def test_the_default_store_survives_any_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "a b#c%20?d"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))

    assert sqlite_path(default_store_url()) == home / "chatkeep" / "chatkeep.db"


def test_the_reference_names_every_setting_with_its_default_and_no_other() -> None:
    reference = (Path(__file__).parents[1] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in reference.splitlines() if row.startswith("| `CHATKEEP_")]

    named = {name: default for row in rows for name, default in _pairs(row[0], row[1])}

    assert {f"CHATKEEP_{name.upper()}" for name in Settings.model_fields} == set(named)
    for name, field in Settings.model_fields.items():
        default = named[f"CHATKEEP_{name.upper()}"]
        if default.startswith("`") and field.default is not None:
            assert default.strip("`") == str(field.default).lower(), name


def _pairs(names: str, defaults: str) -> list[tuple[str, str]]:
    found = re.findall(r"`(CHATKEEP_[A-Z_]+)`", names)
    given = defaults.split(", ") if len(found) > 1 else [defaults]
    return list(zip(found, given, strict=True))
