"""Parts of many schemas."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from chatkeep.api.house import ID_PATTERN
from chatkeep.api.params import MAX_SEQ, usable_id

Metadata = Annotated[dict[str, Any], Field(description="The caller's own values, at most 16 KiB of JSON.")]
SettableId = Annotated[str, Field(pattern=ID_PATTERN), AfterValidator(usable_id)]
Title = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(max_length=256)]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Count = Annotated[int, Field(ge=0, le=MAX_SEQ)]


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _as_said(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("must be a time of RFC 3339 with its offset, such as 2026-01-05T09:30:12Z")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside of the years 1 to 9999") from error


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_as_said), AfterValidator(_in_utc)]


class Asking(BaseModel):
    """A request body: no field that is not known, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Telling(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error (RFC 9457). Further members depend on `code`: `run_id`, `last_seq`, `message_seq`."""

    type: str = "about:blank"
    title: str
    status: int
    code: Annotated[str, Field(description="The stable name of the error.")]
    detail: Annotated[str, Field(description="What happened and what to do, for people.")]
    field: Annotated[str, Field(description="Where in the request the fault lies.")] = ""
    errors: Annotated[list[dict[str, str]], Field(description="All faults of a request.")] = []
    run_id: Annotated[str, Field(description="The run that is answering (`run_active`).")] = ""
    last_seq: Annotated[int, Field(description="The last seq of the session (`seq_conflict`).")] = 0

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "code": "not_found",
                    "detail": "no session 'a' here",
                }
            ]
        }
    )


class Removed(Telling):
    """A receipt: what was removed for good, counted by kind."""

    removed: dict[str, int]
