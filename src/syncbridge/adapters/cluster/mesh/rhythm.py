"""How often the mesh does what it does without being asked, and how much of it at once."""

from __future__ import annotations

from dataclasses import dataclass

GONE_WITHIN_S = 15.0
"""What a dead node had must be gone everywhere within this."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The times of a mesh; of tests, shorter ones."""

    tick_s: float = 0.25  # what is due is looked for so often
    beat_s: float = 2.0  # four are missed before a node is presumed dead: a loop that stood still is not worth it
    dead_after_s: float = 9.0  # with two beats 13 s
    retry_s: float = 1.0  # what failed is asked again: a primary is replaced within five
    check_s: float = 10.0  # a followed session's head and presence are read so often, whatever was said of them
    renew_s: float = 60.0  # a statement with devices is said again, so that the others see that it stands for something
    stale_s: float = 150.0  # one that was not is of nobody: a write that came after its node had left the session
    keep_s: float = 600.0  # presence that nobody renews is forgotten by the store
    turn_max: int = 512  # calls of one turn of the loop: 2 ms
    open_max: int = 2_048  # calls without an answer; what is due beyond waits for them
    signal_bytes_max: int = 2 * 1024 * 1024  # of signals said in one tick; a frozen server is noticed after five

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {
            "dead_after_s >= 3 * beat_s": self.dead_after_s >= 3 * self.beat_s,
            f"dead_after_s + 2 * beat_s < {GONE_WITHIN_S:.0f}": self.dead_after_s + 2 * self.beat_s < GONE_WITHIN_S,
            "stale_s >= 2 * renew_s + check_s": self.stale_s >= 2 * self.renew_s + self.check_s,
            "keep_s > stale_s": self.keep_s > self.stale_s,
            "tick_s <= beat_s": self.tick_s <= self.beat_s,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"the mesh's times contradict each other: {'; '.join(broken)}")
