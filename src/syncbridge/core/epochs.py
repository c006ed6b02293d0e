"""The names of logs, and their order: which of two was there first.

A new session's log has a name of no form. One that was rebuilt is called after it, with how often that happened, and
something that no other rebuilding has: ``NAME.2.PART``. So which log came later is told by the logs, and by no clock.
"""

from __future__ import annotations

import re
from typing import Final

_NAME_CHARS_MAX: Final = 40
_REBUILT: Final = re.compile(r"\.([0-9]{1,9})\.[^.]+\Z")


def rebuilt(epoch: str, part: str) -> str:
    """The epoch of the log that is rebuilt from a state of ``epoch``; ``part`` is fresh chance without a dot."""
    name = _REBUILT.sub("", epoch)[:_NAME_CHARS_MAX]
    return f"{name}.{generation(epoch) + 1}.{part}"


def generation(epoch: str) -> int:
    """How often the log had been rebuilt: of two of one session the one with more came later."""
    found = _REBUILT.search(epoch)
    return 0 if found is None else int(found[1])
