"""The contract of `ports.store` as tests."""

from __future__ import annotations

from chatkeep.testing.contract.branches import BranchTests
from chatkeep.testing.contract.endings import ExpiryTests, TrashTests
from chatkeep.testing.contract.isolation import IsolationTests
from chatkeep.testing.contract.lifecycle import LifecycleTests
from chatkeep.testing.contract.limits import LimitTests
from chatkeep.testing.contract.lists import ListTests, VersionTests
from chatkeep.testing.contract.log import AppendTests, IdempotencyTests, ReadTests
from chatkeep.testing.contract.maintenance import MaintenanceTests
from chatkeep.testing.contract.purge import PurgeTests
from chatkeep.testing.contract.racing import CancellationTests, RacingTests
from chatkeep.testing.contract.removal import ChangeTests, CorruptionTests, PruneTests
from chatkeep.testing.contract.round_trip import RoundTripTests
from chatkeep.testing.contract.run_events import EventTests, FinishTests, LeaseTests
from chatkeep.testing.contract.runs import CancelTests, ClaimTests, QueueTests
from chatkeep.testing.contract.sessions import SessionTests
from chatkeep.testing.contract.states import StateTests


class StoreContract(
    SessionTests,
    ListTests,
    VersionTests,
    RoundTripTests,
    AppendTests,
    IdempotencyTests,
    ReadTests,
    BranchTests,
    ExpiryTests,
    TrashTests,
    PurgeTests,
    PruneTests,
    ChangeTests,
    CorruptionTests,
    StateTests,
    ClaimTests,
    QueueTests,
    CancelTests,
    EventTests,
    LeaseTests,
    FinishTests,
    MaintenanceTests,
    IsolationTests,
    RacingTests,
    CancellationTests,
    LimitTests,
    LifecycleTests,
):
    """Every clause of the store contract.

    An engine's test file defines one subclass, whose name begins with `Test`, with a fixture `harness` that yields a
    `StoreHarness` on an empty database.
    """
