"""The same examples on every run, no database of old ones, and nothing fetched from outside."""

import os

import pytest
from hypothesis import settings

settings.register_profile("chatkeep", derandomize=True, database=None, deadline=None)
settings.load_profile("chatkeep")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CHATKEEP_CONTEXT_RELEVANCE"] = "bm25"  # but where a test asks for embeddings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes minutes first, so that no process does it alone at the end."""
    items.sort(key=lambda item: "lockstep" not in item.name)
