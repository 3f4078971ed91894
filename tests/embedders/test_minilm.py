"""all-MiniLM-L6-v2 itself, with its published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chatkeep.domain.errors import Invalid, ModelUnavailable
from chatkeep.embedders import minilm as module
from chatkeep.embedders.minilm import DIMENSIONS, MiniLM

# The first of the numbers that the reference implementation makes of this sentence.
SENTENCE = "This is an example sentence"
PUBLISHED = (0.06765691, 0.06349591, 0.04871312, 0.07930501, 0.0374481, 0.00265279)


def _likeness(one: bytes, other: bytes) -> float:
    first, second = (np.frombuffer(vector, np.int8).astype(float) for vector in (one, other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


async def test_a_vector_is_that_of_the_published_model(minilm: MiniLM) -> None:
    (vector,) = await minilm.embed([SENTENCE])

    made = np.frombuffer(vector, np.int8) / 127
    assert len(made) == DIMENSIONS
    assert np.linalg.norm(made) == pytest.approx(1, abs=0.02)
    assert made[: len(PUBLISHED)] == pytest.approx(PUBLISHED, abs=0.03)


async def test_what_means_the_same_is_alike(minilm: MiniLM) -> None:
    dog, puppy, tax = await minilm.embed(["The dog is asleep.", "A puppy sleeps.", "The tax return is due in May."])

    assert _likeness(dog, puppy) > 0.5
    assert _likeness(dog, tax) < 0.2


async def test_the_same_text_has_the_same_vector(minilm: MiniLM, weights: Path) -> None:
    other = MiniLM(weights)
    await other.load()
    text = "Ünïcode, 漢字 and \U0001f642"

    assert await minilm.embed([text]) == await other.embed([text]) == [(await minilm.embed(["x", text]))[1]]


@pytest.mark.parametrize("text", ["", " ", "word " * 10_000, "\udcff lone", "\0"])
async def test_any_text_has_a_vector(minilm: MiniLM, text: str) -> None:
    assert [len(vector) for vector in await minilm.embed([text])] == [DIMENSIONS]


async def test_other_weights_are_refused(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(weights / name)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"something else")

    with pytest.raises(Invalid, match=r"not the published model\.safetensors"):
        await MiniLM(tmp_path).load()


async def test_a_path_without_the_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"tokenizer\.json' cannot be read"):
        await MiniLM(tmp_path).load()


async def test_where_nothing_has_the_weights_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_installed", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = MiniLM()

    with pytest.raises(ModelUnavailable, match="CHATKEEP_EMBEDDINGS_PATH"):
        await model.load()

    assert not model.is_ready
    with pytest.raises(ModelUnavailable):
        await model.embed(["x"])


async def test_where_no_cache_can_be_written_it_is_made_each_time(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    model = MiniLM(weights)

    await model.load()

    assert model.is_ready
