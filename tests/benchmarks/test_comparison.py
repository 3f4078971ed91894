"""The comparison measures what it says: both sides do the work, and bars are judged the right way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.bars import BARS, judged, value
from benchmarks.report import document
from benchmarks.sides import FASTEST_PEER, FLOOR, OURS, SQLITE
from benchmarks.worker import Worker


@pytest.mark.parametrize("name", [OURS, "Chatkeep without search", FLOOR])
async def test_a_side_does_the_work_and_is_checked(name: str, tmp_path: Path) -> None:
    worker = Worker(SQLITE, name, str(tmp_path / "chats.db"))
    await worker.open()
    await worker.seed("long", 15)
    await worker.seed_list("user", 7)

    assert len((await worker.append("long", 1, 3))["us"]) == 3
    assert len((await worker.append("", 1, 3))["us"]) == 3
    assert len((await worker.newest("long", 1, 3))["us"]) == 3
    assert len((await worker.everything("long", 1, 3, count=38))["us"]) == 3
    assert len((await worker.recent("user", 1, 3, count=7))["us"]) == 3
    crowd = await worker.crowd("c", 0, 5, 12, start=0)
    assert (crowd["turns"], crowd["stale"], crowd["wrong"], crowd["errors"]) == (60, 0, 0, {})
    shared = await worker.share("shared", 0, 4, 3, start=0)
    assert await worker.look("shared", shared["acknowledged"]) == {"lost": 0, "doubled": 0, "split": 0, "reordered": 0}
    assert (await worker.look("shared", ["0.99"]))["lost"] == 2
    await worker.close()


def _results(**figures: float) -> dict[str, dict[str, Any]]:
    return {
        OURS: {"append 5000": [figures["ours"]], "crowd 1 0": [{"rate": figures["rate"]}]},
        FLOOR: {"append 5000": [100.0], "crowd 1 0": [{"rate": 10_000.0}]},
        FASTEST_PEER: {"append 5000": [150.0]},
    }


@pytest.mark.parametrize(("ours", "rate", "met"), [(70, 20_000, "yes"), (200, 1_000, "**no**")])
def test_a_bar_is_met_when_the_figure_is_on_the_right_side_of_it(ours: float, rate: float, met: str) -> None:
    rows = judged(_results(ours=ours, rate=rate), BARS)

    assert len(rows) == 5
    assert {row[3] for row in rows} == {met}


def test_the_median_of_the_rounds_counts() -> None:
    assert value({OURS: {"append 50": [1.0, 100.0, 2.0]}}, OURS, "append 50") == 2


def test_what_was_not_measured_is_left_out() -> None:
    assert judged({}, BARS) == []
    assert "## Bars" in document({OURS: {"failures": ["open: no"]}})
    assert "open: no" in document({OURS: {"failures": ["open: no"]}})
    assert len(BARS) > 20
