"""Time for the fault tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.scale import scaled


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each the time it needs."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(scaled(240, 7_200)))
