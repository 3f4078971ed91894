"""A state machine that drives an engine and the memory store in lockstep.

    def test_in_lockstep_with_the_memory_store() -> None:
        run_in_lockstep(my_harness)  # a function that returns an async context manager of a StoreHarness

`CHATKEEP_EXAMPLES` (25) and `CHATKEEP_STEPS` (50) say how much; with `CHATKEEP_RANDOM=1` each run takes other examples.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import StoreHarness
from chatkeep.testing.lockstep import Side
from chatkeep.testing.memory import MemoryHarness
from chatkeep.testing.rules import Lockstep

OpenHarness = Callable[[], AbstractAsyncContextManager[StoreHarness]]


def run_in_lockstep(
    open_harness: OpenHarness,
    *,
    examples: int | None = None,
    steps: int | None = None,
    shrink: bool = True,
    part: tuple[int, int] = (0, 1),
) -> None:
    """Compare an engine with the memory store on `examples` sequences of `steps` calls; raise on any difference.

    With `shrink` the shortest sequence that shows it is looked for. The same sequences every time, unless
    CHATKEEP_RANDOM is set. `part` (n, of): do the nth of so many equal parts, each with sequences of its own, so that
    several processes can share the work.
    """
    number, parts = part
    wanted = examples or int(os.environ.get("CHATKEEP_EXAMPLES", "25"))
    clock = FakeClock()
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        harness = runner.run(opened.enter_async_context(open_harness()))
        memory = MemoryHarness()
        stores = [runner.run(harness.open(clock)) for _ in range(2)]
        engine = Side(harness, stores, clock)
        oracle = Side(memory, [runner.run(memory.open(clock))], clock)
        failures: list[Exception] = []

        def example() -> Lockstep:
            return Lockstep(runner.get_loop(), engine, oracle, clock, failures)

        if os.environ.get("CHATKEEP_RANDOM") != "1":
            seed(number)(example)
        try:
            run_state_machine_as_test(
                example,  # type: ignore[arg-type]  # any factory of machines
                settings=settings(
                    max_examples=-(-wanted // parts),
                    stateful_step_count=steps or int(os.environ.get("CHATKEEP_STEPS", "50")),
                    database=None,
                    deadline=None,
                    phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Flaky as error:
            raise AssertionError("the engine failed, and not again when all was repeated") from (failures or [error])[0]
        finally:
            for store in stores:
                runner.run(store.close())
            runner.run(opened.aclose())
