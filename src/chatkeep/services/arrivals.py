"""When old messages came into a session that is younger than they are: the age that retention counts from."""

from __future__ import annotations

import json
from datetime import datetime

from chatkeep.domain.errors import RevisionConflict
from chatkeep.domain.messages import from_us, to_us
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import Store

STATE_KEY = "chatkeep.arrived"


async def mark_arrival(store: Store, scope: Scope, session_id: str, now: datetime) -> None:
    """Note that messages with times of their own come in now; written before the first of them. Raises NotFound,
    Closed.
    """
    stored = await store.get_state(scope, session_id, STATE_KEY)
    value = json.dumps({"at_us": to_us(now)}).encode()
    try:
        await store.put_state(
            scope, session_id, STATE_KEY, value, expected_version=0 if stored is None else stored.version
        )
    except RevisionConflict:
        return  # another caller has noted the same moment


async def arrived_at(store: Store, scope: Scope, session_id: str) -> datetime | None:
    """Return when messages came in last with times of their own: none of the session is older for retention. None:
    never. Raises NotFound.
    """
    stored = await store.get_state(scope, session_id, STATE_KEY)
    return None if stored is None else from_us(json.loads(stored.value)["at_us"])
