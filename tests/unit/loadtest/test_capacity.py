"""The capacity model: its constants come out of a run's figures; a demand is reckoned from them as the page says."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from loadtest.matrix import plots, tables
from loadtest.matrix.cells import Cell, Figures, last_version
from loadtest.matrix.events import EventCost
from loadtest.matrix.memory import IdleCost, NodeMemory, RedisMemory
from loadtest.matrix.model import Costs, Demand, costs_of, line_through, need_of, scaling_of
from loadtest.matrix.results import Machine, Results, Row, Spread
from loadtest.matrix.series import SERIES

COMMIT_US, DELIVERY_US, APART_US, REPLICATED_US = 60.0, 15.0, 40.0, 5.0
REDIS_US, REPLICA_US, POSTGRES_US = 12.0, 9.0, 0.5
HANDOFF = {"handoffs": 400, "confirmed_p50_ms": 2.0, "confirmed_p99_ms": 8.0, "confirmed_max_ms": 20.0}


def figures(cell: Cell) -> Figures:
    """What a world would show in which everything costs exactly what the constants say."""
    others = cell.devices - 1
    node_us = COMMIT_US + DELIVERY_US * others
    node_us += APART_US if cell.placement == "apart" else 0.0
    node_us += REPLICATED_US if cell.world == "replicated" else 0.0
    redis_us = 0.0 if cell.world == "embedded" else REDIS_US + (REPLICA_US if cell.world == "replicated" else 0.0)
    return Figures(
        commits_s=1e6 / node_us,
        deliveries_s=others * 1e6 / node_us,
        node_us=node_us,
        redis_us=redis_us,
        postgres_us=POSTGRES_US,
        devices_us=10.0,
        node_share=0.95,
        others_share=0.4,
        redis_in_bytes=500.0,
        redis_out_bytes=200.0,
        device_bytes=160.0,
    )


def spotless() -> Results:
    cells = dict.fromkeys(cell for cells in SERIES.values() for cell in cells)
    return Results(
        measured_on="2026-01-02",
        command="make load ARGS=--matrix",
        machine=Machine("a processor", 2, 8, "3.11.7", "7.0.15", "15.1", 0.1),
        round_s=1.0,
        rows=[Row.of(cell, [figures(cell)] * 3) for cell in cells],
        node_memory=[NodeMemory(world, 16.0, 30.0, 3_000.0, 2_000.0) for world in ("embedded", "redis")],
        redis_memory=RedisMemory(5.0, 1.25, 0.3),
        idle=IdleCost(4.0, 0.5),
        events=EventCost(5_000.0, 150.0, 80.0),
        handoff={"idle": HANDOFF, "loaded": HANDOFF},
    )


def test_the_constants_come_out_of_a_run_as_they_went_in() -> None:
    costs = costs_of(spotless())
    assert costs.commit_us == pytest.approx(COMMIT_US, rel=0.01)
    assert costs.delivery_us == pytest.approx(DELIVERY_US, rel=0.01)
    assert costs.apart_us == pytest.approx(APART_US, rel=0.01)
    assert costs.replicated_us == pytest.approx(REPLICATED_US, rel=0.01)
    assert (costs.redis_us, costs.replica_us) == (REDIS_US, REPLICA_US)
    assert costs.snapshot_us == POSTGRES_US * 256


def test_a_run_that_lacks_a_cell_names_it() -> None:
    run = spotless()
    lacking = msgspec.structs.replace(run, rows=[row for row in run.rows if row.cell.devices != 4])
    with pytest.raises(KeyError, match="devices=4"):
        costs_of(lacking)


def test_a_line_goes_through_its_points() -> None:
    assert line_through([(0, 3.0), (1, 5.0), (4, 11.0)]) == pytest.approx((2.0, 3.0))


def test_two_nodes_are_twice_one_where_a_commit_costs_them_the_same() -> None:
    run = spotless()
    assert scaling_of(run, 2, "together") == pytest.approx(2.0)
    apart = 2 * (COMMIT_US + DELIVERY_US) / (COMMIT_US + DELIVERY_US + APART_US)
    assert scaling_of(run, 2, "apart") == pytest.approx(apart, rel=0.001)


def test_a_need_is_what_the_formulae_of_the_page_say() -> None:
    costs = costs_of(spotless())
    demand = Demand(devices=10_000, devices_a_session=2, session_changes_s=0.5, apart_share=0.25, entries_a_session=100)
    need = need_of(demand, costs)
    assert (need.sessions, need.commits_s, need.deliveries_s) == (5_000, 2_500, 2_500)
    commit_us = COMMIT_US + DELIVERY_US + APART_US * 0.25 + REPLICATED_US
    returns_s = 10_000 * demand.returns_a_day / 86_400
    work_us = 2_500 * commit_us + 10_000 * 4.0 + returns_s * 2_000.0 + 2_500 * 150.0
    assert need.node_cores == pytest.approx(work_us / 1e6, rel=0.01)
    assert need.broker_cores == pytest.approx(2_500 * 80.0 / 1e6)
    assert need.redis_cores == pytest.approx((2_500 * REDIS_US + 10_000 * 0.5) / 1e6)
    assert need.redis_gib == pytest.approx(5_000 * demand.sessions_kept * (5.0 + 0.3 * 100) / 1024**2)
    assert need.node_gib * need.nodes == pytest.approx((10_000 * 16.0 + 5_000 * 1.25 * 30.0) / 1024**2)
    assert need.snapshots_s == 2_500 / 256


def test_as_many_are_needed_as_the_scarcest_thing_asks_for() -> None:
    costs = costs_of(spotless())
    by_work = need_of(Demand(devices=20_000, session_changes_s=10.0), costs)
    assert by_work.nodes == math.ceil(by_work.node_cores / 0.5) > 2
    by_sockets = need_of(Demand(devices=100_000, session_changes_s=0.0), costs)
    assert by_sockets.nodes == math.ceil(100_000 / 16_000)
    by_memory = need_of(Demand(entries_a_session=10_000), costs)
    assert by_memory.primaries == math.ceil(by_memory.redis_gib / 16) > math.ceil(by_memory.redis_cores / 0.5)


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_can_be_made_and_is_even(name: str) -> None:
    table = tables.TABLES[name][1](spotless())
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.as_markdown().count("\n") == len(table.rows) + 2
    assert table.as_html().count("<tr>") == len(table.rows) + 1


def test_every_constant_of_the_model_is_in_its_table() -> None:
    assert set(tables.COSTS) == set(Costs.__struct_fields__)


def test_what_there_was_no_time_for_is_left_out() -> None:
    run = spotless()
    shorter = msgspec.structs.replace(run, rows=[row for row in run.rows if row.cell.sessions < 10_000])
    assert tables.sessions(shorter).rows[-1] == ["10,000", "-", "-"]
    assert "svg" in plots.growth(shorter, "sessions")


def test_a_busy_machine_is_owned_up_to() -> None:
    run = spotless()
    assert "busy" not in tables.where(run)
    busy = msgspec.structs.replace(run, machine=msgspec.structs.replace(run.machine, load_average=8.5))
    assert "busy with other work" in tables.where(busy)


def test_who_was_at_the_limit_is_told() -> None:
    cell = Cell("redis")
    for shares, told in (((0.95, 0.4), "nodes"), ((0.6, 0.97), "devices and servers"), ((0.5, 0.5), "neither")):
        one = msgspec.structs.replace(figures(cell), node_share=shares[0], others_share=shares[1])
        run = msgspec.structs.replace(spotless(), rows=[Row.of(cell, [one])])
        assert tables.rates(run).rows[0][-1].startswith(told)


def test_a_spread_is_the_median_between_the_least_and_the_greatest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_the_same_figures_give_the_same_plot_with_a_curve_a_world() -> None:
    drawn = plots.growth(spotless(), "devices")
    assert drawn == plots.growth(spotless(), "devices")
    assert all(name in drawn for name in plots.NAMES.values())


def test_the_newest_version_is_read_from_whatever_came_last() -> None:
    ack, entry = {"type": "ack", "seq": 3, "version": 4}, {"type": "entry", "version": 5}
    entries = {"type": "entries", "entries": [{"version": 6}, {"version": 7}]}
    told = [last_version(json.dumps(one).encode()) for one in (ack, entry, entries, {"type": "reject"})]
    assert told == [4, 5, 7, 0]
