"""Who is asking: the first argument of every store call."""

from __future__ import annotations

from dataclasses import dataclass

from chatkeep.domain.ids import check_id


@dataclass(frozen=True, slots=True)
class Scope:
    """Tenant, app and user; nothing is reachable except through it.

    Each field is any text of 1 to 256 bytes (UTF-8), compared byte for byte. Built only by authentication, or by the
    library's caller.
    """

    tenant: str
    app: str
    user: str

    def __post_init__(self) -> None:
        check_id(self.tenant, "tenant")
        check_id(self.app, "app")
        check_id(self.user, "user")
