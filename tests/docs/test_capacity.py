"""The capacity page tells of one run, which it reckons from; that its tables are that run's, `test_pages` holds."""

from __future__ import annotations

import msgspec
import pytest

from docs.generate import capacity, reference
from loadtest.matrix import plots
from loadtest.matrix.results import Row, Spread, read
from loadtest.matrix.series import SERIES


def test_the_figures_hold_all_that_the_page_reckons_from() -> None:
    measured = {row.cell for row in read(capacity.FIGURES).rows}
    assert {cell for name in ("rates", "devices", "sizes") for cell in SERIES[name]} <= measured
    assert measured <= {cell for cells in SERIES.values() for cell in cells}


@pytest.mark.parametrize("name", plots.PLOTS)
def test_every_plot_of_the_page_is_there(name: str) -> None:
    page = (reference.DOCS / "capacity.md").read_text("utf-8")
    assert f"(images/capacity-{name}.svg)" in page


def test_another_figure_makes_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read(capacity.FIGURES)
    before = [make() for make in capacity.PARTS.values()]

    def dearer(row: Row) -> Row:
        told = {name: Spread(one.median * 3, one.least, one.most) for name, one in row.figures.items()}
        return msgspec.structs.replace(row, figures=told)

    other = msgspec.structs.replace(kept, measured_on="2001-01-01", rows=list(map(dearer, kept.rows)))
    monkeypatch.setattr(capacity, "kept", lambda: other)
    after = [make() for make in capacity.PARTS.values()]
    changed = {name for name, one, two in zip(capacity.PARTS, before, after, strict=True) if one != two}
    # Ratios of figures that all grew alike, and what no row is in, stay as they are.
    assert {f"capacity-{name}" for name in ("where", "rates", "devices", "sizes", "costs", "million")} <= changed
