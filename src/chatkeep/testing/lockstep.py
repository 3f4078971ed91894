"""Two stores that are told the same, and must answer the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from chatkeep.domain.errors import ChatkeepError, Invalid, NotFound, StoreError
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.pages import Receipt, SessionFilter
from chatkeep.domain.runs import Run, RunSignal
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionState
from chatkeep.ports.clock import Clock
from chatkeep.testing.calls import pages
from chatkeep.testing.harness import AnyStore, StoreHarness

STATES: tuple[SessionState | None, ...] = (None, "archived", "trashed")


class Side:
    """One of the two stores, behind its handles, and what it said in words that both sides share.

    Incarnations are opaque: they are numbered in the order in which they are met.
    """

    def __init__(self, harness: StoreHarness, stores: Sequence[AnyStore], clock: Clock) -> None:
        self.harness = harness
        self.stores = stores
        self._clock = clock
        self._numbers: dict[str, str] = {}
        self._looks = 0

    def begin(self) -> None:
        """Forget the numbers of earlier examples."""
        self._numbers.clear()
        self._looks = 0

    async def outcome(self, handle: int, name: str, *args: Any, **options: Any) -> Any:
        """Call a method, and return its result or its error in shared words."""
        try:
            result = await getattr(self.stores[handle % len(self.stores)], name)(*args, **options)
        except StoreError:
            raise
        except (NotFound, Invalid) as error:
            return type(error).__name__
        except ChatkeepError as error:
            return type(error).__name__, vars(error)
        return self.shared(result)

    def shared(self, value: Any) -> Any:
        """Return `value` without what engines may choose."""
        said = value
        match value:
            case Session():
                said = tuple(value._replace(incarnation=self._number(value.incarnation)))
            case Message():
                said = (*value[:7], repr(value.feedback), repr(value.content))
            case list() | tuple():
                said = tuple([self.shared(item) for item in value])
            case Unreadable():
                said = ("unreadable", value.seq)
            case Receipt():
                said = value.removed.get("sessions", 0)
            case RunSignal():
                said = (value.lease_ok, value.lease_ok and value.cancel)
            case Run():
                said = self._shared_run(value)
            case _ if is_dataclass(value):
                said = tuple([self.shared(getattr(value, field.name)) for field in fields(value)])
        return said

    def _shared_run(self, run: Run) -> Any:
        """Say of a lease that does not count whether it is over; the rest is the engine's business."""
        lease: object = run.lease_until
        if run.status != "running":
            lease = None if run.is_over else self._clock() >= run.lease_until
        held = {field.name: getattr(run, field.name) for field in fields(run)}
        return {**held, "incarnation": self._number(run.incarnation), "lease_until": lease}

    def _number(self, incarnation: str) -> str:
        return self._numbers.setdefault(incarnation, f"incarnation {len(self._numbers)}")

    async def session(self, scope: Scope, session_id: str, state_keys: Sequence[str]) -> Any:
        """Return all that one session shows, through changing handles; the rows of all branches where it has some."""
        self._looks += 1
        found = await self.outcome(self._looks, "find_session", scope, session_id, include_trashed=True)
        said = [found, await self.outcome(self._looks + 1, "read", scope, session_id, limit=1_000)]
        if found is not None and _branches(Session(*found)):
            said.append(await self.outcome(self._looks, "read", scope, session_id, limit=1_000, path="all"))
        said.extend([await self.outcome(self._looks, "get_state", scope, session_id, key) for key in state_keys])
        return said

    async def run(self, scope: Scope, run_id: str) -> Any:
        """Return all that one run shows."""
        return [
            await self.outcome(1, "find_run", scope, run_id),
            await self.outcome(0, "read_events", scope, run_id, limit=1_000),
        ]

    async def lists(self, scope: Scope, limit: int) -> Any:
        """Return what the lists of a scope show."""
        store = self.stores[0]
        return [
            [
                self.shared(session)
                async for page in pages(
                    store, SessionFilter(state=state, include_archived=True), scope=scope, limit=limit
                )
                for session in page
            ]
            for state in STATES
        ]


def _branches(session: Session) -> bool:
    """Return whether some rows of a session may lie on none but another branch."""
    return bool(session.jumps) or session.head_seq != session.last_seq
