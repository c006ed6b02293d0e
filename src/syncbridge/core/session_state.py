"""The states of a session's machine; see `core.session` for what leads from one to another."""

from __future__ import annotations

from enum import Enum


class SessionState(Enum):
    """Whether the log is being read, in use, being put back into the store, or let go."""

    LOADING = "loading"
    LIVE = "live"
    MENDING = "mending"
    GONE = "gone"
