"""One SQLite file: the embedded default."""

from chatkeep.stores.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
