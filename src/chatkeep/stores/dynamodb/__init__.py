"""DynamoDB, and ScyllaDB through Alternator, by conditional writes of single items."""

from chatkeep.stores.dynamodb.store import Address, DynamoStore, open_dynamodb

__all__ = ["Address", "DynamoStore", "open_dynamodb"]
