"""The tables of docs/capacity.md, from docs/capacity.json: ``python -m docs.generate.capacity [FILE]``.

FILE (reports/capacity.json, which `make load ARGS=--matrix` writes) becomes docs/capacity.json, and the plots in
docs/images are drawn from it; `docs.generate.reference` then writes the page's tables, and a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from loadtest.matrix import plots, tables
from loadtest.matrix.results import Results, read, write

DOCS = Path(__file__).resolve().parents[1]
FIGURES = DOCS / "capacity.json"


@cache
def kept() -> Results:
    """The run that the page tells of."""
    return read(FIGURES)


def table(name: str) -> str:
    """One of the page's tables, as Markdown."""
    return tables.TABLES[name][1](kept()).as_markdown()


PARTS: dict[str, Callable[[], str]] = {
    "capacity-where": lambda: tables.where(kept()),
    **{f"capacity-{name}": partial(table, name) for name in tables.TABLES},
}
"""Every generated part of the page, by its name."""


def main(arguments: list[str]) -> int:
    """The figures of a run are those of the page."""
    results = read(Path(arguments[0]) if arguments else DOCS.parent / "reports" / "capacity.json")
    write(results, FIGURES)
    images = DOCS / "images"
    images.mkdir(exist_ok=True)
    for name in plots.PLOTS:
        (images / f"capacity-{name}.svg").write_text(plots.growth(results, name), "utf-8")
    kept.cache_clear()
    from docs.generate import reference

    return reference.main([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
