"""The vectors of messages as they are stored beside their session.

**Erasure.** A message is first marked as erased in the session's summaries (1), then its page is written without it
(2), then its row goes (3). Who stores vectors announces the page, takes its version (a), makes sure that nothing was
erased since it read the messages (b), and writes by compare-and-set (c). If (2) is before (a), (1) is before (b), which
fails; if it lies between (a) and (c), (c) fails; if it comes later, it takes the vector out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chatkeep.domain.errors import RevisionConflict
from chatkeep.domain.scope import Scope
from chatkeep.domain.vectors import VectorPage, by_page, from_bytes, page_of, to_bytes
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried

_LAST_PAGE = "context/vectors"
_ATTEMPTS = 20
_AT_ONCE = 16

_log = logging.getLogger(__name__)


class KeptPage(NamedTuple):
    """A page, and the version under which it is stored; 0: it is not."""

    page: VectorPage
    version: int


class VectorShelf:
    """Reads and writes the pages. One that cannot be read counts as empty."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, scope: Scope, session_id: str, seqs: Sequence[int], *, name: str) -> Mapping[int, bytes]:
        """Return what is stored of the messages' vectors, by seq. Raises NotFound, StoreError."""
        last = await self._last_page(scope, session_id)
        wanted = [page for page in by_page(seqs) if page <= last]
        found: dict[int, bytes] = {}
        for low in range(0, len(wanted), _AT_ONCE):
            pages = await asyncio.gather(*(self.get(scope, session_id, page) for page in wanted[low : low + _AT_ONCE]))
            for page, _ in pages:
                if page.name == name:
                    found.update(page.vectors)
        return found

    async def get(self, scope: Scope, session_id: str, page: int) -> KeptPage:
        """Return a page. Raises NotFound, StoreError."""
        state = await retried(lambda: self._store.get_state(scope, session_id, _key(page)))
        if state is None:
            return KeptPage(VectorPage(), 0)
        try:
            return KeptPage(from_bytes(page, state.value), state.version)
        except ValueError:
            _log.warning("stored vectors of a session cannot be read; they are made anew")
            return KeptPage(VectorPage(), state.version)

    async def announce(self, scope: Scope, session_id: str, page: int, *, incarnation: str) -> None:
        """Note that there will be such a page. Raises NotFound, Closed, StoreError."""
        for attempt in range(_ATTEMPTS):
            state = await retried(lambda: self._store.get_state(scope, session_id, _LAST_PAGE))
            if state is not None and _number(state.value) >= page:
                return
            version = 0 if state is None else state.version
            value = str(page).encode()
            try:
                await self._store.put_state(
                    scope, session_id, _LAST_PAGE, value, expected_version=version, incarnation=incarnation
                )
            except RevisionConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return

    async def put(self, scope: Scope, session_id: str, number: int, kept: KeptPage, *, incarnation: str) -> None:
        """Store a page that was announced, if nobody has changed it since `kept.version`.

        Raises RevisionConflict, NotFound (also for another incarnation), Closed, StoreError.
        """
        await self._store.put_state(
            scope,
            session_id,
            _key(number),
            to_bytes(kept.page),
            expected_version=kept.version,
            incarnation=incarnation,
        )

    async def forget(self, scope: Scope, session_id: str, low: int, high: int) -> None:
        """Remove the vectors of the messages from `low` to `high`. Raises NotFound, Closed, StoreError."""
        last = await self._last_page(scope, session_id)
        for number in range(page_of(low), min(last, page_of(high)) + 1):
            await self._forget(scope, session_id, number, low, high)

    async def _forget(self, scope: Scope, session_id: str, number: int, low: int, high: int) -> None:
        for attempt in range(_ATTEMPTS):
            page, version = await self.get(scope, session_id, number)
            left = VectorPage(page.name, {seq: one for seq, one in page.vectors.items() if not low <= seq <= high})
            try:
                # Also where nothing changes: who is about to store the page must not succeed.
                await self._store.put_state(scope, session_id, _key(number), to_bytes(left), expected_version=version)
            except RevisionConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return

    async def _last_page(self, scope: Scope, session_id: str) -> int:
        state = await retried(lambda: self._store.get_state(scope, session_id, _LAST_PAGE))
        return -1 if state is None else _number(state.value)


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() else -1


def _key(page: int) -> str:
    return f"context/vectors/{page}"
