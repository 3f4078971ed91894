"""Everything in this process's memory: for tests, for trying things out, and as the oracle of the other engines."""

from chatkeep.stores.memory.store import MemoryStore
from chatkeep.stores.memory.tables import Tables

__all__ = ["MemoryStore", "Tables"]
