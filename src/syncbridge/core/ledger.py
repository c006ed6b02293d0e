"""What the log does not remember of pushes: refusals, and where each device's numbers go on.

Exactly once is decided by three verdicts on a push's ``seq``: it is *settled* (answer again what was answered), it
is *next* (judge it), or it leaves a *gap* (something was lost on the way: nothing may overtake it). Accepted pushes
are settled in the log; refused ones here, at most ``inflight_max`` a device.

A refusal is final for its number until the device joins again; there the server says how far the log has its
numbers, and everything past that is free to be made anew.
"""

from __future__ import annotations

from collections import OrderedDict

from syncbridge.core.messages import Reject, ServerMessage


class Ledger:
    """Numbers and refusals by device; everything it learns in a batch can be taken back by `undo`."""

    __slots__ = ("_answers", "_floors", "_undo")

    def __init__(self) -> None:
        self._floors: dict[str, int] = {}
        self._answers: dict[str, OrderedDict[int, tuple[int, ServerMessage]]] = {}
        self._undo: list[tuple[str, int, int]] = []

    def expected(self, device: str, last_seq: int) -> int:
        """The number the next push of ``device`` carries, when ``last_seq`` is its last one in the log."""
        return max(last_seq + 1, self._floors.get(device, 1))

    def resume(self, device: str, seq: int) -> None:
        """The device joined: its numbers go on at ``seq``, and what was refused past that is forgotten."""
        self._floors[device] = seq
        answers = self._answers.get(device)
        if answers is not None:
            for refused in [refused for refused in answers if refused >= seq]:
                del answers[refused]

    def has_refused(self, device: str, after: int, before: int) -> bool:
        """Whether a push between the two numbers, both excluded, was refused."""
        answers = self._answers.get(device)
        if not answers:
            return False
        return any(after < seq < before and isinstance(answers[seq][1], Reject) for seq in answers)

    def answer(self, device: str, seq: int) -> tuple[int, ServerMessage] | None:
        """(body digest, first answer) of a push that was answered without an entry."""
        answers = self._answers.get(device)
        return None if answers is None else answers.get(seq)

    def settle(self, device: str, seq: int, digest: int, answer: ServerMessage, kept_max: int) -> None:
        """Push ``seq`` is answered, without an entry, for good."""
        self._undo.append((device, seq, self._floors.get(device, 1)))
        self._floors[device] = seq + 1
        answers = self._answers.setdefault(device, OrderedDict())
        answers[seq] = (digest, answer)
        while len(answers) > kept_max:
            answers.popitem(last=False)

    def begin(self) -> None:
        """A batch begins: what is learnt from here on can be taken back."""
        self._undo.clear()

    def undo(self) -> None:
        """What was learnt since `begin` is forgotten."""
        for device, seq, floor in reversed(self._undo):
            self._floors[device] = floor
            self._answers.get(device, OrderedDict()).pop(seq, None)
        self._undo.clear()
