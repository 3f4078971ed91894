"""The DynamoDB engine meets the contract, on each server that is installed."""

from __future__ import annotations

from chatkeep.testing import StoreContract


class TestDynamoStore(StoreContract):
    """The fixture `harness` is in conftest."""
