"""The ports' answers: `embedded` (one process, SQLite) and `cluster` (several nodes)."""
