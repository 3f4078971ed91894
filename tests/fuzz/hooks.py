"""What Schemathesis cannot know of the service by itself.

Random names never meet: names that are well formed become one of a few here, and runs those that were seen, so that
requests find what others have made, changed, trashed and removed.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from zlib import crc32

import schemathesis

APPS = 2
SESSIONS = 12
SEQS = 8
_ID = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_runs: deque[str] = deque(maxlen=50)


@schemathesis.serializer("application/x-ndjson")
def _as_lines(_context: Any, value: Any) -> bytes:
    """Send what was generated for an import, which is text, as it is."""
    return str(value).encode(errors="surrogatepass")


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let well-formed names be those of few."""
    if path_parameters is None:
        return None
    return {name: _known(name, value) for name, value in path_parameters.items()}


def _known(name: str, value: Any) -> Any:
    if name == "seq":
        return value % SEQS + 1 if isinstance(value, int) and value >= 1 else value
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in {"new", ".", ".."}:
        return value
    chosen = crc32(value.encode())
    if name == "app":
        return f"app{chosen % APPS}"
    if name == "session_id":
        return f"s{chosen % SESSIONS}"
    return _runs[chosen % len(_runs)] if _runs else value


@schemathesis.hook
def after_call(_context: Any, _case: Any, response: Any) -> None:
    """Remember the runs there are."""
    for run_id in response.headers.get("chatkeep-run-id", ()):
        _runs.append(run_id)
