"""Derives the demonstration's heart-rate series from a recorded PPG signal. Same input, same bytes.

    pip install '.[data]'
    python -m syncbridge.demo.data.derive_heart_rate            # writes the series
    python -m syncbridge.demo.data.derive_heart_rate --check    # fails when the shipped file differs

Source   `data3.csv` of the Python package heartpy 1.2.7: 68,476 samples of a fingertip PPG, 24 November 2016,
         11 minutes 22 seconds. Its digest is checked, so that another release of the package is noticed.
Method   1. Sample rate: samples over the span of the timestamps (they tick in steps of 15.6 ms, so a single one
            is too coarse to time a beat; the sensor itself is taken as steady).
         2. Beats: `heartpy.process` with its defaults; beats that it marks as removed are left out.
         3. Intervals between two neighbouring beats that both stand; each is a rate (60 / seconds) at its middle.
         4. Outliers: a rate further than 20 % from the median of the 11 around it is a missed or a doubled beat
            and is left out. Nothing is put in its place.
         5. Resampling: linear between the two nearest rates, once a second, rounded to a tenth of a beat a minute.
            The series begins and ends with the first and the last whole second that has a rate on both sides.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from bisect import bisect_left
from datetime import datetime
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import heartpy
import numpy as np  # heartpy's own array type

SOURCE_SHA256 = "16eedaa7c97c6ca873e7e424d27a84dcd043d4eca0e4f7611d2a37969192b7ea"
SERIES = Path(__file__).resolve().with_name("heart_rate_1hz.json")
NEIGHBOURS = 5
DEVIATION_MAX = 0.2


def derive() -> dict[str, Any]:
    """The series with its source and method, as the file holds it. Raises SystemExit for another source."""
    source = files("heartpy") / "data" / "data3.csv"
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SOURCE_SHA256:
        raise SystemExit(f"data3.csv is another file than the one this was written for: {digest}")
    rows = [line.split(",") for line in content.decode().splitlines()[1:]]
    first, last = (datetime.fromisoformat(rows[place][0]) for place in (0, -1))
    samples = [float(row[1]) for row in rows]
    sample_rate = (len(samples) - 1) / (last - first).total_seconds()

    working, _measures = heartpy.process(np.array(samples), sample_rate)
    peaks = [int(peak) for peak in working["peaklist"]]
    stands = [bool(mark) for mark in working["binary_peaklist"]]
    beats = list(zip(peaks, stands, strict=True))
    rates: list[tuple[float, float]] = []
    for (left, left_stands), (right, right_stands) in pairwise(beats):
        if left_stands and right_stands:
            rates.append(((left + right) / 2 / sample_rate, 60 * sample_rate / (right - left)))
    kept = [one for place, one in enumerate(rates) if _is_plausible(rates, place)]

    times = [time_s for time_s, _ in kept]
    seconds = range(int(times[0]) + 1, int(times[-1]) + 1)
    series = [round(_between(kept, bisect_left(times, second), second), 1) for second in seconds]
    return {
        "unit": "beats per minute",
        "interval_s": 1,
        "source": "data3.csv of the Python package heartpy 1.2.7, (c) 2021 Paul van Gent, MIT licence; see NOTICE.md",
        "source_sha256": SOURCE_SHA256,
        "method": "src/syncbridge/demo/data/derive_heart_rate.py",
        "recorded_samples": len(samples),
        "sample_rate_hz": round(sample_rate, 3),
        "beats_found": len(peaks),
        "beats_removed_by_heartpy": stands.count(False),
        "intervals_kept": len(kept),
        "intervals_left_out_as_outliers": len(rates) - len(kept),
        "longest_gap_s": round(max(right - left for left, right in pairwise(times)), 1),
        "values": series,
    }


def _is_plausible(rates: list[tuple[float, float]], place: int) -> bool:
    around = [rate for _, rate in rates[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]]
    middle = statistics.median(around)
    return abs(rates[place][1] - middle) <= DEVIATION_MAX * middle


def _between(rates: list[tuple[float, float]], right: int, at_s: float) -> float:
    (left_s, left_rate), (right_s, right_rate) = rates[right - 1], rates[right]
    return left_rate + (right_rate - left_rate) * (at_s - left_s) / (right_s - left_s)


def as_text(series: dict[str, Any]) -> str:
    """The file: one member a line, the values twenty a line, so that a change can be read."""
    values = series["values"]
    lines = [", ".join(map(str, values[start : start + 20])) for start in range(0, len(values), 20)]
    head = json.dumps({name: value for name, value in series.items() if name != "values"}, indent=2)
    body = ",\n    ".join(lines)
    return f'{head[:-2]},\n  "values": [\n    {body}\n  ]\n}}\n'


def main() -> int:
    """The file is written; with --check, 1 when the shipped one differs from what is derived."""
    text = as_text(derive())
    if "--check" in sys.argv[1:]:
        same = SERIES.read_text(encoding="utf-8") == text
        print("the shipped series is what is derived" if same else "the shipped series differs from what is derived")
        return 0 if same else 1
    SERIES.write_text(text, encoding="utf-8")
    print(f"wrote {SERIES.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
