"""Counting with a model's own vocabulary, until its provider reports what it has counted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from hashlib import sha1

import pytest
from tests.servers import TOOLS, missing
from tests.services.conftest import ALICE, Clock

from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.messages import Text, ToolCall, ToolResult, assistant, user
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.sessions import NewSession
from chatkeep.domain.tokens import message_tokens
from chatkeep.services.context import ContextService, Explained, Question
from chatkeep.services.history import HistoryService
from chatkeep.stores.memory import MemoryStore
from chatkeep.tokens.openai import Vocabularies

_DATA = TOOLS / "vocabularies/bpe_openai/data"
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
POLICY = ContextPolicy(tmax_tokens=2_000, tretained_tokens=1_000)
MODEL = "openai:gpt-4o"


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabularies]:
    """Give the published vocabularies, from a folder as a machine without the net would have them."""
    if not _DATA.is_dir():
        missing("the vocabularies")
    folder = tmp_path_factory.mktemp("vocabularies")
    for name in ("o200k_base", "cl100k_base"):
        kept = sha1(_ADDRESS.format(name).encode(), usedforsecurity=False).hexdigest()  # the name tiktoken gives it
        (folder / kept).write_bytes(gzip.decompress((_DATA / f"{name}.tiktoken.gz").read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        made = Vocabularies()
        for model in ("gpt-4o", "gpt-4"):
            made.of(model)
        made.settled()
        yield made


async def _asked(clock: Clock, vocabularies: Vocabularies, model: str, text: str) -> tuple[ContextService, Explained]:
    store = MemoryStore(clock=clock)
    history = HistoryService(store, RetentionPolicies())
    await store.create_session(ALICE, "s", NewSession())
    for number in range(60):
        await history.append(ALICE, "s", [user(f"{number} {text}"), assistant(text)])
    service = ContextService(store, clock, POLICY, tokenizer_of=vocabularies.of)
    return service, await service.prepare(ALICE, "s", Question(text=text, model=model))


def _exact(explained: Explained, vocabularies: Vocabularies) -> int:
    vocabulary = vocabularies.of(MODEL)
    assert vocabulary is not None
    return sum(message_tokens(message.parts, vocabulary.count) for message in explained.prompt.messages)


@pytest.mark.parametrize(
    "text", ["The quick brown fox jumps. " * 8, "Zug, Straße, Übermut! " * 8, "火车九点出发。" * 8]
)
async def test_a_prompt_is_as_long_as_the_model_counts(clock: Clock, vocabularies: Vocabularies, text: str) -> None:
    _, explained = await _asked(clock, vocabularies, MODEL, text)

    report = explained.prompt.report
    assert report.estimate == "exact"
    assert _exact(explained, vocabularies) <= POLICY.tmax_tokens
    assert report.tokens["total"] == pytest.approx(_exact(explained, vocabularies), rel=0.03)


async def test_without_a_vocabulary_bytes_are_counted(clock: Clock, vocabularies: Vocabularies) -> None:
    _, explained = await _asked(clock, vocabularies, "ollama:llama3", "The quick brown fox.")

    assert explained.prompt.report.estimate == "bytes"


async def test_each_model_counts_with_its_own(clock: Clock, vocabularies: Vocabularies) -> None:
    service, new = await _asked(clock, vocabularies, MODEL, "火车九点出发。" * 8)
    old = await service.prepare(ALICE, "s", Question(text="火车九点出发。" * 8, model="gpt-4"))

    vocabulary = vocabularies.of("gpt-4")
    assert vocabulary is not None
    exact = sum(message_tokens(message.parts, vocabulary.count) for message in old.prompt.messages)
    assert old.prompt.report.tokens["total"] == pytest.approx(exact, rel=0.03)
    assert old.prompt.report.tokens["total"] > new.prompt.report.tokens["total"]


async def test_what_a_provider_reports_counts_more(clock: Clock, vocabularies: Vocabularies) -> None:
    service, explained = await _asked(clock, vocabularies, MODEL, "The quick brown fox. " * 8)

    estimated = sum(message_tokens(message.parts) for message in explained.prompt.messages)
    await service.learn(ALICE, "s", MODEL, explained.prompt, reported_tokens=2 * estimated)
    again = await service.prepare(ALICE, "s", Question(text="And now?", model=MODEL))

    assert again.prompt.report.estimate == "calibrated"
    assert sum(message_tokens(message.parts) for message in again.prompt.messages) * 2 <= POLICY.tmax_tokens


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o", "o200k_base"),
        ("openai:gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-4.1", "o200k_base"),
        ("anthropic:claude", None),
        ("ollama:gpt-oss", None),
        ("echo", None),
    ],
)
def test_models_have_their_vocabularies(vocabularies: Vocabularies, model: str, vocabulary: str | None) -> None:
    # The same word takes another number of tokens in each.
    counts = {"o200k_base": 2, "cl100k_base": 3, None: None}
    found = vocabularies.of(model)

    assert (None if found is None else found.count("Übermut")) == counts[vocabulary]


def test_tools_and_odd_texts_are_counted(vocabularies: Vocabularies) -> None:
    vocabulary = vocabularies.of(MODEL)
    assert vocabulary is not None
    parts = (
        ToolCall("1", "find", {"city": "Köln"}),
        ToolResult("1", {"found": [1, 2]}),
        Text("\ud800 <|endoftext|> \0"),
    )

    assert message_tokens(parts, vocabulary.count) > 20
    assert vocabulary.count("word " * 400_000) > 100_000


def test_a_vocabulary_that_cannot_be_had_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: (_ for _ in ()).throw(OSError(name)))
    made = Vocabularies()

    assert made.of(MODEL) is None
    made.settled()
    assert made.of(MODEL) is None
    assert "tokens are estimated" in caplog.text
