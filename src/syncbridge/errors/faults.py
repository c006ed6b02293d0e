"""Not the peer's fault: what we lean on did not answer, or we are wrong."""

from __future__ import annotations

from syncbridge.errors.roots import BrokenInvariant, DependencyFault


class Unavailable(DependencyFault):
    code = "unavailable"
    close_code = 1013
    meaning = "Storage does not answer; nothing was applied that was not acknowledged."


class Restarting(DependencyFault):
    code = "restarting"
    close_code = 1012
    retry = "same"
    meaning = "The node restarts; reconnect after the time given and resume."


class Busy(DependencyFault):
    code = "busy"
    close_code = 1013
    meaning = "The node is at its limit; reconnect after the time given."


class Internal(BrokenInvariant):
    code = "internal"
    close_code = 1011
    retry = "same"
    meaning = "An error of ours; it is logged with the request id."


class StateDamaged(BrokenInvariant):
    code = "state_damaged"
    meaning = "Stored data of this session failed its checksum; it is set aside, not served. Restore a backup."
