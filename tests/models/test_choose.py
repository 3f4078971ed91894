"""From a choice in the settings to a model."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TypedDict

import pytest
from tests.models.conftest import ModelServer, OllamaWire, Reply

from chatkeep.domain.errors import Invalid, NotSupported
from chatkeep.models import ollama
from chatkeep.models.choose import choose_model, open_model, preferred
from chatkeep.ports.models import ModelRequest, TextDelta


class Settings(TypedDict):
    base_url: str | None
    api_key: str | None
    timeout_seconds: float
    words_per_second: float


@pytest.fixture
def settings(server: ModelServer) -> Settings:
    return {"base_url": server.url, "api_key": None, "timeout_seconds": 5, "words_per_second": 0}


@pytest.mark.parametrize(
    ("choice", "can_assist"),
    [("echo", False), ("ollama:qwen2.5:7b", True), ("openai:org/gpt", True), ("anthropic:claude", True)],
)
async def test_a_choice_opens_the_model_of_that_name(choice: str, can_assist: bool, settings: Settings) -> None:  # noqa: FBT001 - a case of the table
    model = open_model(choice, **settings)

    assert (model.name, model.can_assist) == (choice, can_assist)
    await model.close()


@pytest.mark.parametrize("choice", ["", "gpt-5", "ollama", "ollama:", "echo:loud", "Echo", "bard:x", ":x"])
def test_a_choice_that_names_no_model_is_refused_with_the_choices(choice: str, settings: Settings) -> None:
    with pytest.raises(Invalid, match="choose echo, ollama:NAME, openai:NAME or anthropic:NAME"):
        open_model(choice, **settings)


@pytest.mark.parametrize(
    "base_url", ["localhost:11434", "ftp://x", "http://", "http://[", "http://h:port", "http://a b"]
)
async def test_a_base_url_that_is_none_is_refused(base_url: str, settings: Settings) -> None:
    settings["base_url"] = base_url

    with pytest.raises(Invalid, match="must look like"):
        open_model("ollama:tiny", **settings)
    with pytest.raises(Invalid, match="must look like"):
        await choose_model(None, **settings)


@pytest.mark.parametrize("kind", ["ollama", "openai", "anthropic"])
def test_a_missing_extra_names_the_command_that_installs_it(
    kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    monkeypatch.delitem(sys.modules, f"chatkeep.models.{kind}", raising=False)

    with pytest.raises(NotSupported, match=rf"pip install 'chatkeep\[{kind}\]'") as caught:
        open_model(f"{kind}:tiny", **settings)

    assert "\n" not in str(caught.value)


def test_choosing_imports_no_client_that_was_not_chosen() -> None:
    program = (
        "import sys, chatkeep.models.choose as c;"
        "c.open_model('echo', base_url=None, api_key=None, timeout_seconds=1, words_per_second=1);"
        "print({'openai', 'anthropic', 'ollama', 'httpx', 'httpx2', 'pydantic'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert done.stdout == "set()\n"


async def test_the_setting_is_followed_without_looking_around(server: ModelServer, settings: Settings) -> None:
    model, notice = await choose_model("ollama:mine", **settings)

    assert (model.name, notice) == ("ollama:mine", None)
    assert server.received == []
    await model.close()


async def test_without_a_setting_the_best_model_of_a_local_ollama_answers(
    server: ModelServer, settings: Settings, question: ModelRequest
) -> None:
    names = ["nomic-embed-text:latest", "zephyr:7b", "llama3.2:3b"]
    server.reply = Reply([json.dumps({"models": [{"model": name} for name in names]}).encode()])
    model, notice = await choose_model(None, **settings)
    server.reply = Reply([OllamaWire().text("Sun."), *OllamaWire().end()])

    events = [event async for event in model.stream(question)]

    assert (model.name, notice) == ("ollama:llama3.2:3b", None)
    assert events[0] == TextDelta("Sun.")
    await model.close()


async def test_without_a_setting_and_an_ollama_echo_answers_with_a_notice(
    settings: Settings, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "DEFAULT_BASE_URL", f"http://127.0.0.1:{unused_tcp_port}")
    settings["base_url"] = None

    model, notice = await choose_model(None, **settings)

    assert model.name == "echo"
    assert notice is not None
    assert f"no Ollama runs at http://127.0.0.1:{unused_tcp_port}" in notice
    assert "set CHATKEEP_MODEL to ollama:NAME" in notice


async def test_an_ollama_without_a_chat_model_leaves_echo_and_says_how_to_get_one(
    server: ModelServer, settings: Settings
) -> None:
    server.reply = Reply([json.dumps({"models": [{"model": "all-minilm:latest"}]}).encode()])

    model, notice = await choose_model(None, **settings)

    assert model.name == "echo"
    assert notice is not None
    assert "`ollama pull qwen2.5:7b` installs one" in notice


async def test_without_the_ollama_extra_the_notice_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ollama", None)
    monkeypatch.delitem(sys.modules, "chatkeep.models.ollama", raising=False)

    model, notice = await choose_model(None, **settings)

    assert model.name == "echo"
    assert notice is not None
    assert "pip install 'chatkeep[ollama]'" in notice


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["zephyr", "gemma3:4b", "qwen3:8b"], "qwen3:8b"),
        (["qwen3-embedding:0.6b", "zephyr"], "zephyr"),
        (["bge-m3", "mxbai-embed-large"], None),
        ([], None),
    ],
)
def test_known_families_come_first_and_embedding_models_never(names: list[str], expected: str | None) -> None:
    assert preferred(names) == expected
