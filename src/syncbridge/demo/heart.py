"""The recorded heart rate that the demonstration carries; data/NOTICE.md tells where it comes from."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from syncbridge.errors import StateDamaged


class HeartSeries(msgspec.Struct, frozen=True):
    """A person's heart rate in beats per minute, one value every ``interval_s`` seconds."""

    unit: str
    interval_s: int
    source: str
    values: list[float]

    def at(self, second: int) -> float:
        """The rate at ``second`` of the recording, which begins anew after its end."""
        return self.values[second // self.interval_s % len(self.values)]


def recorded() -> HeartSeries:
    """The series that ships with the package. Raises StateDamaged when it is not what it should be."""
    content = (files("syncbridge.demo") / "data" / "heart_rate_1hz.json").read_bytes()
    try:
        return msgspec.json.decode(content, type=HeartSeries)
    except msgspec.MsgspecError as error:
        raise StateDamaged(f"the recorded heart rate cannot be read: {error}") from error
