"""The recorded heart rate: what ships is what NOTICE.md says."""

from __future__ import annotations

import json
from importlib.resources import files

from syncbridge.demo.heart import HeartSeries, recorded

DATA = files("syncbridge.demo") / "data"


def test_the_series_is_eleven_minutes_of_a_resting_heart() -> None:
    series = recorded()
    assert series.interval_s == 1
    assert len(series.values) == 680
    assert all(40 <= rate <= 180 for rate in series.values)
    # A recording varies from beat to beat; a made-up sine would repeat itself.
    assert len(set(series.values)) > 200


def test_the_recording_begins_anew_after_its_end() -> None:
    series = HeartSeries("beats per minute", 1, "", [60.0, 61.0, 62.0])
    assert [series.at(second) for second in (0, 2, 3, 7)] == [60.0, 62.0, 60.0, 61.0]


def test_the_notice_names_source_licence_and_the_figures_of_the_file() -> None:
    notice = (DATA / "NOTICE.md").read_text("utf-8")
    told = json.loads((DATA / "heart_rate_1hz.json").read_text("utf-8"))
    for part in ("heartpy 1.2.7", "Paul van Gent", "MIT License", "src/syncbridge/demo/data/derive_heart_rate.py"):
        assert part in notice
    assert f"{told['beats_found']:,} beats" in notice
    assert f"{told['beats_removed_by_heartpy']} of them" in notice
    assert f"{told['intervals_left_out_as_outliers']} were left out" in notice
    assert f"{told['intervals_kept'] + told['intervals_left_out_as_outliers']:,} intervals" in notice
    assert f"{told['longest_gap_s']} s" in notice
