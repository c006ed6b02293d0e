"""The session log in Redis: the `StateStore` of many nodes."""
