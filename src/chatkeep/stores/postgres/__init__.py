"""The store on PostgreSQL."""

from chatkeep.stores.postgres.address import Address
from chatkeep.stores.postgres.store import PostgresStore, open_postgres

__all__ = ["Address", "PostgresStore", "open_postgres"]
