"""Positions in a session's log, numbers of a device's pushes, fences.

A position is (epoch, version): the epoch names the log, so versions of two epochs cannot be compared. Versions,
push numbers and fences are integers from 0 (nothing yet); true is not an integer.

`syncbridge._twin.version` says the same in plain Python.
"""


cdef object natural(str name, object value):
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is an integer from 0")
    return value


def compare_position(a_epoch, a_version, b_epoch, b_version, /):
    """Where position a lies seen from b; ``other_log`` when the epochs differ and no order exists."""
    if type(a_epoch) is not str or type(b_epoch) is not str:
        raise ValueError("an epoch is a string")
    natural("version", a_version)
    natural("version", b_version)
    if a_epoch != b_epoch:
        return "other_log"
    return "same" if a_version == b_version else "before" if a_version < b_version else "after"


def judge_version(have, got, /):
    """What log entry `got` (from 1) is to a follower that has all entries up to `have`."""
    natural("version", have)
    if natural("version", got) == 0:
        raise ValueError("an entry's version is an integer from 1")
    return "next" if got == have + 1 else "duplicate" if got <= have else "gap"


def judge_seq(last, seq, inflight=0, /):
    """What push `seq` (from 1) is to a session that settled all up to `last` and holds `inflight` more.

    ``repeat`` was settled and gets its first answer again; ``pending`` is held now and is answered once.
    """
    natural("seq", last)
    natural("inflight", inflight)
    if natural("seq", seq) == 0:
        raise ValueError("a push number is an integer from 1")
    if seq <= last:
        return "repeat"
    if seq <= last + inflight:
        return "pending"
    return "next" if seq == last + inflight + 1 else "gap"


def fence_verdict(current, given, /):
    """Whether the fencing token `given` is the session's `current` one, an old one, or one never issued."""
    natural("fence", current)
    natural("fence", given)
    return "current" if given == current else "stale" if given < current else "future"
