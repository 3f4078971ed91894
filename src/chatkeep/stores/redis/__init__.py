"""Redis and Valkey: one server, a master behind sentinels, or a cluster."""

from chatkeep.stores.redis.address import SCHEMES, Address
from chatkeep.stores.redis.store import RedisStore, open_redis

__all__ = ["SCHEMES", "Address", "RedisStore", "open_redis"]
