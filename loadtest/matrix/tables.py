"""The tables of a run, for the report and the capacity page alike. Pure."""

from __future__ import annotations

import html
from collections.abc import Callable

import msgspec

from bench.worlds import WORLDS
from loadtest.matrix.cells import Cell, Placement
from loadtest.matrix.model import Costs, Demand, Need, costs_of, need_of, scaling_of
from loadtest.matrix.results import Results, Row, Spread
from loadtest.matrix.series import SERIES

PLACEMENTS: dict[Placement, str] = {"together": "devices of a session at one node", "apart": "at two nodes"}
BUSY_LOAD = 1.0
"""Of the machine before the run: from here on others were at work."""
BUSY = 0.9
"""Of its cores: from here on a side is what bounds the rate."""


class Table(msgspec.Struct, frozen=True):
    """A heading's worth of rows; the first cells are text, the others figures."""

    head: list[str]
    rows: list[list[str]]

    def as_markdown(self) -> str:
        rule = ["---", *("---:" for _ in self.head[1:])]
        return "\n".join(f"| {' | '.join(row)} |" for row in [self.head, rule, *self.rows]) + "\n"

    def as_html(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        return f"<table>{row(self.head, 'th')}{''.join(row(cells, 'td') for cells in self.rows)}</table>"


def where(results: Results) -> str:
    """One sentence: when, on what, by which command."""
    one = results.machine
    told = (
        f"Measured on {results.measured_on} by `{results.command}` on {one.cores} cores ({one.cpu},"
        f" {one.memory_gib} GiB), Python {one.python}, Redis {one.redis}, PostgreSQL {one.postgres}; load average"
        f" before it: {one.load_average:g}. Figures are medians of rounds of {results.round_s:g} s, in brackets the"
        " least and the greatest."
    )
    if one.load_average > BUSY_LOAD:
        told += (
            " **The machine was busy with other work**: rates and times of waiting are not the service's own, and even"
            " processor time is more than on a quiet one."
        )
    return told + "\n"


def rates(results: Results) -> Table:
    """What each world did, and who was at the limit."""
    head = ["world", "state", "rounds", "commits/s", "us a commit, nodes", "us, Redis", "us, PostgreSQL", "us, devices"]
    head += ["commits/s a core of nodes", "bound by"]
    rows = []
    for row in results.rows:
        if row.cell in SERIES["rates"]:
            told = row.figures
            figures = [told[name] for name in ("commits_s", "node_us", "redis_us", "postgres_us", "devices_us")]
            a_core = f"{1e6 / told['node_us'].median:,.0f}"
            rows.append(
                [
                    _name(row.cell),
                    f"{row.cell.size_kib} KiB",
                    str(row.rounds),
                    *map(_spread, figures),
                    a_core,
                    _bound(row),
                ]
            )
    return Table(head, rows)


def goals(results: Results) -> Table:
    """What was aimed at, and what came out: each a ratio of processor time of the nodes, of the same run."""
    rows = []
    for size in (2, 20):
        ratio = results.median(Cell("embedded", size_kib=size), "node_us") / results.median(
            Cell("redis", size_kib=size), "node_us"
        )
        rows.append([f"rate a core with Redis, of the embedded one, {size} KiB", f"{ratio:.2f}", "0.6 at least"])
    for size in (2, 20):
        for placement, said in PLACEMENTS.items():
            times = scaling_of(results, size, placement)
            rows.append(
                [f"two nodes with a core each, of one node, {size} KiB, {said}", f"{times:.2f}", "1.7 at least"]
            )
    for world in ("embedded", "redis"):
        small, large = (results.median(Cell(world, size_kib=size), "node_us") for size in (2, 20))
        rows.append([f"20 KiB states, of 2 KiB, at the node, {world}", f"{large / small:.2f}", "1.3 at most"])
    small, large = (results.median(Cell("redis", size_kib=size), "redis_us") for size in (2, 20))
    rows.append(["20 KiB states, of 2 KiB, in Redis", f"{large / small:.2f}", "1.3 at most"])
    if "loaded" in results.handoff:
        took = results.handoff["loaded"]["confirmed_p99_ms"]
        rows.append(["handoff between nodes under 1,000 pushes a second, p99", f"{took:.1f} ms", "10 ms at most"])
    return Table(["what", "measured", "goal"], rows)


def growth(results: Results, figure: Callable[[Cell], str], cells: list[tuple[str, list[Cell]]], first: str) -> Table:
    """A row a value, a column a world: processor time of the nodes a commit."""
    columns = [name for name, _ in cells]
    lines: dict[str, list[str]] = {}
    for name, of_world in cells:
        for cell in of_world:
            line = lines.setdefault(figure(cell), ["-"] * len(columns))
            if results.has(cell):
                line[columns.index(name)] = _spread(results.row(cell).figures["node_us"])
    return Table([first, *columns], [[value, *line] for value, line in lines.items()])


def devices(results: Results) -> Table:
    return growth(
        results,
        lambda cell: str(cell.devices),
        [
            ("embedded", [Cell("embedded", devices=count) for count in range(1, 6)]),
            ("Redis, one node", [Cell("redis", devices=count) for count in range(1, 6)]),
            ("Redis, devices at two nodes", [Cell("nodes", devices=n, placement="apart") for n in range(2, 6)]),
        ],
        "devices of a session",
    )


def sizes(results: Results) -> Table:
    return growth(
        results,
        lambda cell: f"{cell.size_kib} KiB",
        [(name, [Cell(name, size_kib=size) for size in (1, 2, 20, 60, 200)]) for name in ("embedded", "redis")],
        "state",
    )


def sessions(results: Results) -> Table:
    return growth(
        results,
        lambda cell: f"{cell.sessions:,}",
        [
            (n, [Cell(n, sessions=count, devices=1) for count in (10, 100, 1_000, 10_000)])
            for n in ("embedded", "redis")
        ],
        "sessions, a device each",
    )


def handoff(results: Results) -> Table:
    rows = [
        [
            said,
            str(results.handoff[name]["handoffs"]),
            *(
                f"{results.handoff[name][key]:.2f}"
                for key in ("confirmed_p50_ms", "confirmed_p99_ms", "confirmed_max_ms")
            ),
        ]
        for name, said in (("idle", "nothing else"), ("loaded", "1,000 pushes a second, each from node to node"))
        if name in results.handoff
    ]
    return Table(["while there is", "handoffs", "p50 ms", "p99 ms", "slowest ms"], rows)


COSTS: dict[str, tuple[str, str]] = {
    "commit_us": ("us", "a commit, at the node whose device made it"),
    "delivery_us": ("us", "each other device that is told"),
    "apart_us": ("us", "a second node with devices of the session hears of it"),
    "replicated_us": ("us", "waiting for a replica, at the node"),
    "redis_us": ("us", "the commit, in its primary"),
    "replica_us": ("us", "what a replica adds, in both"),
    "snapshot_us": ("us", "a state written behind, in PostgreSQL"),
    "idle_node_us": ("us a second", "a connected device that does nothing, at its node"),
    "idle_redis_us": ("us a second", "the same, in Redis"),
    "return_us": ("us", "a device comes back: hello and join, at its node"),
    "event_us": ("us", "an event is told to RabbitMQ and confirmed, at the node that tells it"),
    "broker_us": ("us", "the same, in RabbitMQ; nobody consumes it"),
    "connection_kib": ("KiB", "a connection, at its node"),
    "session_kib": ("KiB", "a session of 2 KiB that is followed, at each node where it is"),
    "redis_session_kib": ("KiB", "a session of 2 KiB as it is made, in Redis"),
    "redis_state_kib": ("KiB", "each KiB more of state, in Redis"),
    "redis_entry_kib": ("KiB", "an entry of the log, in Redis"),
    "delivery_bytes": ("bytes", "a change as a device is told of it"),
    "redis_in_bytes": ("bytes", "a commit, from node to Redis"),
    "redis_out_bytes": ("bytes", "a commit, from Redis to one node"),
}
"""What each of `Costs` is: its unit, and a sentence."""


def costs(results: Results) -> Table:
    told = costs_of(results)
    rows = [[f"`{name}`", f"{getattr(told, name):.3g}", unit, said] for name, (unit, said) in COSTS.items()]
    return Table(["constant", "measured", "unit", "what it is"], rows)


DEMANDS: dict[str, Demand] = {
    "quiet": Demand(session_changes_s=0.02, apart_share=0.5),
    "as designed for": Demand(),
    "busy": Demand(devices_a_session=3, session_changes_s=1.0),
}
"""A million devices each: a change of a session in 50 s, in 10 s, and each second with a third device."""


def million(results: Results) -> Table:
    told = costs_of(results)
    needs = [need_of(demand, told) for demand in DEMANDS.values()]
    lines: list[tuple[str, Callable[[Demand, Need], str]]] = [
        (
            "devices a session; changes of a session a second",
            lambda d, _: f"{d.devices_a_session}; {d.session_changes_s:g}",
        ),
        ("sessions with somebody there", lambda _, n: f"{n.sessions:,.0f}"),
        ("commits/s; deliveries/s", lambda _, n: f"{n.commits_s:,.0f}; {n.deliveries_s:,.0f}"),
        ("devices that connect a second", lambda _, n: f"{n.returns_s:,.0f}"),
        ("cores' worth of work in nodes", lambda _, n: f"{n.node_cores:.1f}"),
        ("nodes (one core each)", lambda _, n: f"{n.nodes}"),
        ("memory of a node", lambda _, n: f"{n.node_gib:.2f} GiB"),
        ("cores' worth of work in primaries", lambda _, n: f"{n.redis_cores:.2f}"),
        ("memory of all primaries", lambda _, n: f"{n.redis_gib:,.0f} GiB"),
        ("primaries (a replica each)", lambda _, n: f"{n.primaries}"),
        ("states written to PostgreSQL a second", lambda _, n: f"{n.snapshots_s:,.0f}"),
        ("cores' worth of work in PostgreSQL", lambda _, n: f"{n.postgres_cores:.2f}"),
        (
            "events to RabbitMQ a second; its cores' worth",
            lambda _, n: f"{n.events_s:,.0f}; {n.broker_cores:.1f}",
        ),
        ("network to devices", lambda _, n: f"{n.devices_mbit_s:,.0f} Mbit/s"),
        ("network between nodes and Redis", lambda _, n: f"{n.redis_mbit_s:,.0f} Mbit/s"),
    ]
    rows = [[said, *(tell(d, n) for d, n in zip(DEMANDS.values(), needs, strict=True))] for said, tell in lines]
    return Table(["", *DEMANDS], rows)


TABLES: dict[str, tuple[str, Callable[[Results], Table]]] = {
    "goals": ("Goals", goals),
    "rates": ("Rates", rates),
    "devices": ("How cost grows with devices", devices),
    "sizes": ("How cost grows with the document", sizes),
    "sessions": ("How cost grows with sessions", sessions),
    "handoff": ("Handoff between two nodes", handoff),
    "costs": ("Constants", costs),
    "million": ("A million devices", million),
}
"""Every table by its name: its heading, and what makes it."""


def _name(cell: Cell) -> str:
    said = {"embedded": "embedded", "redis": "Redis", "replicated": "Redis with a replica", "nodes": "two nodes"}[
        cell.world
    ]
    if cell.world == "nodes":
        said += ", devices apart" if cell.placement == "apart" else ", devices together"
    return said


def _spread(one: Spread) -> str:
    return f"{_short(one.median)} ({_short(one.least)} to {_short(one.most)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def _bound(row: Row) -> str:
    nodes, others = row.figures["node_share"].median, row.figures["others_share"].median
    said = "nodes" if nodes >= BUSY else "devices and servers" if others >= BUSY else "neither"
    return f"{said} ({nodes:.0%}, {others:.0%})"


assert COSTS.keys() == set(Costs.__struct_fields__), "every constant has its sentence"
assert WORLDS.keys() == {"embedded", "redis", "replicated", "nodes"}
