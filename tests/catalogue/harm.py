"""What must hold after every case: the service lives, has not grown, says nothing of a fault, and hurt nobody else."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tests.catalogue.rows import Row
from tests.catalogue.service import ProbeProcess, forged_lines
from tests.catalogue.stage import Stage

GROWTH_BYTES_MAX: Final = 5 * 1024 * 1024
P99_MS_MAX: Final = 50.0
SAMPLES: Final = 6
"""Pushes that the probe makes after a case, besides those during it."""
MEASUREMENTS_MAX: Final = 6
"""A machine that others share may be slow for a moment: what is measured may be measured again, an outcome may not."""
QUIET_SAMPLES: Final = 100
"""Pushes while nothing else is sent, where a measurement was too slow: what they take is not the case's."""

_FAULT = re.compile(r"Traceback|\binternal\b|\[(?:error|critical) *\]|never retrieved")


class Measure(NamedTuple):
    """What one run of a case cost everybody else; ``quiet_p99_ms`` is what a push costs while nothing is sent."""

    growth_bytes: int
    p99_ms: float
    quiet_p99_ms: float = 0.0

    @property
    def is_within(self) -> bool:
        return self.growth_bytes <= GROWTH_BYTES_MAX and self.p99_ms <= P99_MS_MAX + 5 * self.quiet_p99_ms


async def prove(row: Row, stage: Stage, probe: ProbeProcess) -> Measure:
    """The row's outcome is exactly what it promises, and nobody else was harmed. Raises AssertionError."""
    stage.service.log_since()
    before = stage.notes.pop("untouched", None) or untouched(stage)
    measure = Measure(0, 0.0)
    for _ in range(MEASUREMENTS_MAX):
        memory = stage.service.memory_bytes()
        probe.took_ms(1)
        outcome = await row.send(stage)
        took = sorted(probe.took_ms(SAMPLES))
        assert outcome == row.gets, f"{row.id}: expected {row.gets!r}, got {outcome!r}"
        measure = Measure(stage.service.memory_bytes() - memory, _p99(took))
        if not measure.is_within:
            measure = measure._replace(quiet_p99_ms=_p99(sorted(probe.took_ms(QUIET_SAMPLES))))
        if measure.is_within:
            break
    assert stage.service.is_alive, f"{row.id}: the service has ended"
    assert measure.is_within, f"{row.id}: {measure} after {MEASUREMENTS_MAX} measurements"
    after = untouched(stage)
    assert after == before, f"{row.id}: somebody else's session changed"
    stage.notes["untouched"] = after
    log = stage.service.log_since()
    assert not _FAULT.search(log), f"{row.id}: the log tells of a fault:\n{log[-3000:]}"
    assert not forged_lines(log), f"{row.id}: lines of the log that nobody wrote: {forged_lines(log)}"
    assert "\x1b" not in log, f"{row.id}: an escape sequence in the log"
    secret = stage.notes.pop("never_logged", None)
    assert secret is None or secret not in log, f"{row.id}: {secret!r} is in the log"
    return measure


def _p99(took_ms: list[float]) -> float:
    return took_ms[-(len(took_ms) // 100) - 1]


def untouched(stage: Stage) -> list[object]:
    """Everything of Olga's that a case could have changed, but the session that the probe writes."""
    found: list[object] = []
    for path in (*(f"/v1/sessions/{one}" for one in stage.olga.sessions[:-1]), "/v1/devices"):
        answer = stage.olgas_http.get(path)
        assert answer.status_code == 200, answer.text
        view = answer.json()
        for device in view.get("devices", ()):
            device.pop("seen_at")
        found.append(view)
    return found
