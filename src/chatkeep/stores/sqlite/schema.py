"""The schema of a file: whose it is, which version, and how it gets to the one this release needs."""

from __future__ import annotations

from collections.abc import Mapping

from chatkeep.domain.errors import NotSupported
from chatkeep.stores.sql import load_migrations
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.indexing import WORDS_VERSION
from chatkeep.stores.versions import check_schema

PACKAGE = "chatkeep.stores.sqlite"
APPLICATION_ID = 0x43484B50
"""`CHKP`: in the header of the file, where `file` and other programs see it."""

_NO_SEARCH = "none"


def _number(db: Database, pragma: str) -> int:
    value: int = db.connection.pragma(pragma)
    return value


def wanted_version() -> int:
    """Return the schema version of this release."""
    return len(load_migrations(PACKAGE))


def facts(db: Database) -> Mapping[str, str]:
    """Return what `Maintenance.schema` tells."""
    search = db.row("get_meta", ("search",))
    return {
        "version": str(_number(db, "user_version")),
        "wanted": str(wanted_version()),
        "search": _NO_SEARCH if search is None else search[0],
        "journal_mode": str(db.connection.pragma("journal_mode")),
        "bytes": str(_number(db, "page_count") * _number(db, "page_size")),
        "free_bytes": str(_number(db, "freelist_count") * _number(db, "page_size")),
    }


def check_version(db: Database) -> None:
    """Raise NotSupported unless this release runs on the schema."""
    check_schema(_number(db, "user_version"), [step.name for step in load_migrations(PACKAGE)])


def is_new(db: Database, path: str) -> bool:
    """Return whether the file is empty. Raises NotSupported for a database of another program."""
    application, tables = _number(db, "application_id"), _number(db, "schema_version")
    if application == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise NotSupported(f"{path!r} is a database of another program; choose another path")
    return False


def migrate(db: Database) -> None:
    """Bring the schema to the version of this release; it never goes back. In one transaction each step."""
    for step in load_migrations(PACKAGE)[_number(db, "user_version") :]:
        db.sql("BEGIN IMMEDIATE")
        try:
            db.sql(step.sql)
            db.sql(f"PRAGMA application_id = {APPLICATION_ID}")
            db.sql(f"PRAGMA user_version = {step.number}")
            db.run("set_meta", (f"migration {step.number}", step.name))
            db.sql("COMMIT")
        except BaseException:
            db.sql("ROLLBACK")
            raise


def prepare_search(db: Database, *, search: bool) -> None:
    """Give the file the search index that is wanted: none, or one of the present WORDS_VERSION, filled later."""
    wanted = WORDS_VERSION if search else _NO_SEARCH
    found = db.row("get_meta", ("search",))
    if found is not None and found[0] == wanted:
        return
    db.sql("BEGIN IMMEDIATE")
    try:
        db.sql("DROP TABLE IF EXISTS search")
        if search:
            db.run("create_search")
            db.run("keep_search_clean")
        db.run("index_everything" if search else "index_nothing")
        db.run("set_meta", ("search", wanted))
        db.sql("COMMIT")
    except BaseException:
        db.sql("ROLLBACK")
        raise
