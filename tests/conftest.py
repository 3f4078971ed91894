"""The same examples on every run, no database of old ones, nothing fetched from outside, logs that end with a test."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("chatkeep", derandomize=True, database=None, deadline=None)
settings.load_profile("chatkeep")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CHATKEEP_CONTEXT_RELEVANCE"] = "bm25"  # but where a test asks for embeddings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes minutes first, so that no process does it alone at the end."""
    items.sort(key=lambda item: "lockstep" not in item.name)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Let no command that a test calls here write the lines of later tests to what was its standard error."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
