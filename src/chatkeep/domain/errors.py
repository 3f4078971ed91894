"""Every error that Chatkeep raises, as one closed tree.

`code` is the stable machine name (the API sends it in problem+json); `is_temporary` says whether the same call may
succeed if it is repeated unchanged. The error of a driver is always chained as the cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ChatkeepError(Exception):
    """The root. Never raised itself."""

    code: ClassVar[str] = "error"
    is_temporary: ClassVar[bool] = False


class NotFound(ChatkeepError):
    """Nothing of that name is visible in the caller's scope: missing, expired, trashed, purged or someone else's."""

    code = "not_found"

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(f"no {kind} {key!r} here")
        self.kind = kind
        self.key = key


class Conflict(ChatkeepError):
    """The call was understood but the stored state does not allow it."""

    code = "conflict"


class SessionExists(Conflict):
    """The session id is taken, by a live session."""

    code = "session_exists"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} exists already; choose another id, or use ensure")
        self.session_id = session_id


class RevisionConflict(Conflict):
    """The settings of the session have changed since `expected` was read."""

    code = "revision_conflict"

    def __init__(self, *, expected: int, current: int) -> None:
        super().__init__(f"expected revision {expected}, the stored one is {current}; read again and repeat")
        self.expected = expected
        self.current = current


class SeqConflict(Conflict):
    """The log has grown, or a seq that the call names is not (or no longer) in it."""

    code = "seq_conflict"

    def __init__(self, message: str, *, last_seq: int) -> None:
        super().__init__(f"{message} (the last seq is {last_seq})")
        self.last_seq = last_seq


class IdReused(Conflict):
    """An idempotency key came again with another body. Nothing was stored.

    `first_seq` and `last_seq` tell where an append with that key had put its messages; None for other calls.
    """

    code = "id_reused"

    def __init__(self, key: str, *, first_seq: int | None = None, last_seq: int | None = None) -> None:
        super().__init__(f"idempotency key {key!r} was used for another body; take a new key for a new request")
        self.key = key
        self.first_seq = first_seq
        self.last_seq = last_seq


class Closed(Conflict):
    """The session is in the trash: its id stays taken and nothing can be written until it is restored or purged."""

    code = "closed"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} is in the trash; restore or purge it first")
        self.session_id = session_id


class RunActive(Conflict):
    """The session is answering already."""

    code = "run_active"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} is still answering; wait, cancel it, or send when_busy")
        self.run_id = run_id


class LeaseLost(Conflict):
    """Another owner has taken the run over; the caller must stop working on it."""

    code = "lease_lost"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the lease of run {run_id!r} was taken over; stop")
        self.run_id = run_id


class Invalid(ChatkeepError):
    """The caller's input is malformed. `field` names the place."""

    code = "invalid"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class LimitExceeded(Invalid):
    """The input is well formed but larger than Chatkeep accepts. Nothing was stored."""

    code = "limit_exceeded"

    def __init__(self, what: str, *, actual: int, limit: int, unit: str) -> None:
        super().__init__(f"{what}: {actual} {unit}, the limit is {limit}", field=what)
        self.actual = actual
        self.limit = limit


class StoreError(ChatkeepError):
    """The engine failed."""

    code = "store_error"


class Unavailable(StoreError):
    """The engine cannot be reached or refuses work; the call had no effect or may be repeated with the same key."""

    code = "unavailable"
    is_temporary = True

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Timeout(StoreError):
    """The outcome is unknown. Repeat the same call with the same idempotency key; never decide by reading."""

    code = "timeout"
    is_temporary = True


class CorruptRecord(StoreError):
    """A stored record cannot be decoded. Neighbours are unaffected."""

    code = "corrupt_record"


class NotSupported(ChatkeepError):
    """This engine, build or platform cannot do what was asked; the message says what can."""

    code = "not_supported"


class MigrationNeeded(NotSupported):
    """The store's schema is older than that of this release. `steps`: what leads to it, in order."""

    def __init__(self, found: int, wanted: int, steps: Sequence[str]) -> None:
        super().__init__(f"the store has schema {found}, this release needs {wanted}: run `chatkeep migrate`")
        self.found = found
        self.wanted = wanted
        self.steps = tuple(steps)


class ModelError(ChatkeepError):
    """The model failed to answer. It becomes the outcome of the run."""

    code = "model_error"


class ModelUnavailable(ModelError):
    """The model's server cannot be reached, is overloaded, or broke the stream off."""

    code = "model_unavailable"
    is_temporary = True


class ModelTimeout(ModelError):
    """The model's server sent nothing for longer than the set time."""

    code = "model_timeout"
    is_temporary = True


class ModelRefused(ModelError):
    """The model's server rejected the request: wrong key, unknown model, bad input."""

    code = "model_refused"


class SummaryRejected(ModelError):
    """What the model wrote cannot serve as a summary. Nothing was stored."""

    code = "summary_rejected"


class ContextOverflow(ChatkeepError):
    """What has to be in the prompt is larger than the budget. Nothing was sent.

    `tokens` tells by part what was needed.
    """

    code = "context_overflow"

    def __init__(self, *, budget_tokens: int, tokens: dict[str, int]) -> None:
        needed = ", ".join(f"{name} {count}" for name, count in tokens.items() if count)
        super().__init__(
            f"the prompt needs {sum(tokens.values())} tokens ({needed}), the budget is {budget_tokens}; shorten the "
            "message or the instructions, or raise CHATKEEP_CONTEXT_TMAX_TOKENS"
        )
        self.budget_tokens = budget_tokens
        self.tokens = tokens
