"""One process and its data directory: no other server is needed."""

from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.adapters.embedded.memory import MemoryStore
from syncbridge.adapters.embedded.store import SqliteStore

__all__ = ["CannotOpen", "MemoryStore", "SqliteStore"]
