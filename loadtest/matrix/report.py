"""The report of a run: one page with its tables and plots, which needs nothing else."""

from __future__ import annotations

import html

from loadtest.matrix import plots, tables
from loadtest.matrix.results import Results

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def page(results: Results) -> str:
    """Self-contained HTML."""
    parts = [f"<h1>What SyncBridge carries</h1><p>{html.escape(tables.where(results))}</p>"]
    for name, (heading, make) in tables.TABLES.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>{make(results).as_html()}")
        if name in plots.PLOTS:
            drawn = plots.growth(results, name)
            parts.append(drawn[drawn.index("<svg") :])
    head = f'<meta charset="utf-8"><title>What SyncBridge carries</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
