"""MongoDB, by conditional writes of single documents: no transactions, so that a standalone server will do."""

from chatkeep.stores.mongodb.store import Address, MongoStore, open_mongodb

__all__ = ["Address", "MongoStore", "open_mongodb"]
