"""``python -m syncbridge.errors`` prints the table of every error code."""

from __future__ import annotations

from syncbridge.errors import table

print(table(), end="")
