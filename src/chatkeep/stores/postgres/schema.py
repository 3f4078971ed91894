"""The schema: which version it has, and how it gets to the one this release needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chatkeep.stores.sql import load_migrations
from chatkeep.stores.versions import check_schema

if TYPE_CHECKING:
    from chatkeep.stores.postgres.engine import Connection

PACKAGE = "chatkeep.stores.postgres"
_VERSION = "version"
_LOCK = 4_801_715_122_113
"""Of those who migrate, one works at a time; any number that others will hardly take."""


def wanted_version() -> int:
    """Return the schema version of this release."""
    return len(load_migrations(PACKAGE))


async def _version(db: Connection) -> int:
    known = await db.raw.fetchval("SELECT to_regclass('meta') IS NOT NULL")
    row = await db.row("get_meta", _VERSION) if known else None
    return 0 if row is None else int(row[0])


async def facts(db: Connection) -> Mapping[str, str]:
    """Return what `Maintenance.schema` tells."""
    size = await db.raw.fetchval(
        "SELECT sum(pg_total_relation_size(c.oid))::text FROM pg_class c"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"
    )
    schema = await db.raw.fetchval("SELECT current_schema()")
    clock_us = await db.raw.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    return {
        "version": str(await _version(db)),
        "wanted": str(wanted_version()),
        "schema": str(schema),
        "bytes": str(size or 0),
        "clock_us": str(clock_us),
    }


async def check_version(db: Connection) -> None:
    """Raise NotSupported unless this release runs on the schema."""
    check_schema(await _version(db), [step.name for step in load_migrations(PACKAGE)])


async def migrate(db: Connection, schema: str) -> None:
    """Bring the schema to the version of this release; it never goes back. Within one transaction of the caller."""
    await db.raw.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
    await db.raw.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    for step in load_migrations(PACKAGE)[await _version(db) :]:
        await db.raw.execute(step.sql)
        await db.run("set_meta", f"migration {step.number}", step.name)
        await db.run("set_meta", _VERSION, str(step.number))
