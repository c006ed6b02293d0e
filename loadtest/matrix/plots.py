"""The plots of a run, as SVG: the same figures give the same file."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.matrix.cells import Cell
from loadtest.matrix.results import Results

NAMES = {"embedded": "embedded", "redis": "Redis, one node", "nodes": "Redis, devices at two nodes"}
Curve = tuple[str, Callable[[int], Cell], list[int]]
PLOTS: dict[str, tuple[str, list[Curve]]] = {
    "devices": (
        "devices of a session",
        [
            ("embedded", lambda n: Cell("embedded", devices=n), [1, 2, 3, 4, 5]),
            ("redis", lambda n: Cell("redis", devices=n), [1, 2, 3, 4, 5]),
            ("nodes", lambda n: Cell("nodes", devices=n, placement="apart"), [2, 3, 4, 5]),
        ],
    ),
    "sizes": (
        "size of the state, KiB",
        [
            ("embedded", lambda n: Cell("embedded", size_kib=n), [1, 2, 20, 60, 200]),
            ("redis", lambda n: Cell("redis", size_kib=n), [1, 2, 20, 60, 200]),
        ],
    ),
    "sessions": (
        "sessions, a device each",
        [
            ("embedded", lambda n: Cell("embedded", sessions=n, devices=1), [10, 100, 1_000, 10_000]),
            ("redis", lambda n: Cell("redis", sessions=n, devices=1), [10, 100, 1_000, 10_000]),
        ],
    ),
}
"""What stands on the axis below, and a curve a world."""


def growth(results: Results, name: str) -> str:
    """Processor time of the nodes a commit, over what grows."""
    below, curves = PLOTS[name]
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(5.2, 2.8), layout="constrained")
        axes: Axes = figure.subplots()
        for world, cell, values in curves:
            values = [value for value in values if results.has(cell(value))]
            rows = [results.row(cell(value)).figures["node_us"] for value in values]
            middle = [row.median for row in rows]
            below_above = [[row.median - row.least for row in rows], [row.most - row.median for row in rows]]
            axes.errorbar(values, middle, yerr=below_above, marker="o", markersize=3, capsize=2, label=NAMES[world])
        if name != "devices":
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(below)
        axes.set_ylabel("us of a core a commit")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        told = io.StringIO()
        figure.savefig(told, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in told.getvalue().splitlines()) + "\n"
