"""The load test's own reckoning: percentiles, continuity, shapes, and what counts as broken."""

from __future__ import annotations

import pytest

from loadtest.__main__ import broken, parse
from loadtest.measures import Measures, as_markdown, percentile
from loadtest.shapes import SHAPES, storm_at, users_at


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1000, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500.0, 990.0, 999.0, 1000.0]
    assert percentile([7.0], 0.5) == percentile([7.0], 0.999) == 7.0
    assert percentile([], 0.99) == 0.0


def test_continuity_counts_what_was_lost_what_jumped_and_what_never_ended() -> None:
    measures = Measures()
    for lost, playhead_ms in ((0, 1.0), (0, 50.0), (1, 1.0), (0, 50.1)):
        measures.moved(lost=lost, playhead_ms=playhead_ms)
    measures.broke()
    told = measures.as_json("steady", 10, 5)
    assert (told["moves"], told["continuity"], told["lost"]) == (5, 0.4, 1)


def test_a_run_that_lost_failed_or_jumped_is_broken_by_name() -> None:
    fine = {"shape": "storm", "lost": 0, "errors": {}, "continuity": 1.0}
    assert broken([fine]) == []
    assert broken([{**fine, "lost": 2}]) == ["storm: 2 acknowledged updates were lost"]
    assert broken([{**fine, "errors": {"push: no ack": 3}}]) == ["storm: 3 requests failed"]
    assert broken([{**fine, "continuity": 0.99}]) == ["storm: continuity is 0.99, wanted 0.999"]
    assert broken([{**fine, "continuity": None}]) == ["storm: continuity is None, wanted 0.999"]


def test_the_report_tells_every_figure_of_a_run() -> None:
    measures = Measures()
    for ms in (1.0, 2.0, 3.0):
        measures.took("push", ms)
    measures.failed("resume", "no joined")
    measures.moved(lost=0, playhead_ms=3.0)
    text = as_markdown([measures.as_json("storm", 3, 5)])
    for part in (
        "| push | 3 | 1.0 | 2.0 | 3.0 | 3.0 |",
        "Continuity 100.00 % of 1",
        "- 1 x resume: no joined",
        "storm",
    ):
        assert part in text


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_bounded_in_people_and_in_time(shape: str) -> None:
    levels = [users_at(shape, second / 10, 20.0, 30) for second in range(200)]
    assert all(level is not None and 1 <= level[0] <= 30 for level in levels)
    assert max(level[0] for level in levels if level is not None) == 30
    assert users_at(shape, 20.0, 20.0, 30) is None


def test_only_the_storm_cuts_everybody_off() -> None:
    assert [storm_at("storm", elapsed_s) for elapsed_s in (0.0, 4.9, 5.0, 14.9)] == [0, 0, 1, 2]
    assert storm_at("steady", 100.0) == storm_at("morning", 100.0) == 0


@pytest.mark.parametrize(
    "words", [["--url", "https://example.com"], ["--users", "0"], ["--users", "501"], ["--seconds", "601"]]
)
def test_a_load_that_is_not_bounded_or_not_here_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(words)
    assert stopped.value.code == 2
    assert "--u" in capsys.readouterr().err or "--seconds" in words
