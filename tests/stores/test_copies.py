"""Which rows of a tail a handle takes for copied, whatever became of earlier copies."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from hypothesis import given, strategies as st

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, created
from chatkeep.stores.items.handle import Handle
from chatkeep.stores.items.heads import Head, Row
from chatkeep.stores.items.tables import Key, Tables
from chatkeep.testing import FakeClock

_SESSION = created("s", "incarnation", NewSession(), datetime(2026, 1, 1, tzinfo=UTC), by_append=False)


class _Log:
    """Takes rows, but those that it is told to refuse."""

    def __init__(self) -> None:
        self.rows: set[Key] = set()
        self.refused: set[Key] = set()

    async def put(self, _table: str, key: Key, _item: Any, _condition: Any) -> None:
        """Take a row, or refuse it."""
        if key in self.refused:
            raise Unavailable("slow down")
        self.rows.add(key)


@given(st.data())
def test_a_row_without_a_copy_is_never_taken_for_copied(data: st.DataObject) -> None:
    log = _Log()
    handle = Handle(cast("Tables", log), FakeClock())
    heads = [Head(Scope("t", "a", "u"), _SESSION)]

    for _ in range(data.draw(st.integers(1, 12))):
        newest = heads[-1]
        last = max((row.n for head in heads for row in head.tail), default=0)
        fresh = tuple(Row(n, {"n": n, "body": b""}) for n in range(last + 1, last + 1 + data.draw(st.integers(0, 4))))
        heads.append(replace(newest, tail=(*handle._uncopied(newest), *fresh)))
        head = data.draw(st.sampled_from(heads))  # whoever reads may have an older one
        numbers = data.draw(st.sets(st.sampled_from([row.n for row in head.tail]))) if head.tail else set()
        log.refused = {head.row_key(n) for n in numbers}
        with suppress(Unavailable):
            asyncio.run(handle._copy(head, data.draw(st.sampled_from([head.tail, head.tail[:1], head.tail[1:]]))))

        for each in heads:
            missing = {row.n for row in each.tail if each.row_key(row.n) not in log.rows}
            assert missing <= {row.n for row in handle._uncopied(each)}
        stored = {row.n for row in heads[-1].tail} | {n for n in range(1, last + 1) if newest.row_key(n) in log.rows}
        assert stored >= set(range(1, last + 1))

    log.refused = set()
    asyncio.run(handle._copy(heads[-1], heads[-1].tail))
    assert handle._uncopied(heads[-1]) == ()
