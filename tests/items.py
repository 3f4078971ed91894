"""What the tests of all engines of conditional items do behind a store's back."""

from __future__ import annotations

from typing import Any

from chatkeep.domain.scope import Scope
from chatkeep.stores.items.store import ItemStore
from chatkeep.stores.items.tables import LOG, WORK, Item


def dump(value: Any) -> bytes:
    """Return all that an item holds, texts and bodies as they are."""
    if isinstance(value, dict):
        return b" ".join(map(dump, value.values()))
    if isinstance(value, list):
        return b" ".join(map(dump, value))
    return value if isinstance(value, bytes) else str(value).encode()


def counts(table: str, item: Item) -> bool:
    """Return whether an item is a row of somebody. Notes that name a session or a run are; what stays for an hour of a
    purged one names nothing.
    """
    return table != WORK or bool(item.keys() & {"of_pk", "run"})


async def corrupt(store: ItemStore, scope: Scope, session_id: str, seq: int) -> None:
    """Damage the body of a message."""
    head = await store._head(scope, session_id)
    assert head is not None
    row = await store._row(head, seq)
    assert row is not None
    await store._tables.put(LOG, head.row_key(seq), {**row, "body": row["body"] + b"?"})
