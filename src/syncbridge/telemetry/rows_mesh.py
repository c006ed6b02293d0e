"""Metrics of what the nodes of one world say to each other."""

from __future__ import annotations

from syncbridge.telemetry.shape import Feed, Metric

_SAID = ("presence", "signal", "deleted", "arrived", "asked", "stays", "told")

MESH: tuple[Metric, ...] = (
    Metric(
        "mesh_nodes",
        "gauge",
        "Nodes that live, as this one sees it, itself included; 0 without Redis.",
        feeds=(Feed("mesh_nodes", "set"),),
    ),
    Metric(
        "mesh_beats_total",
        "counter",
        "Times that this node counted itself among the living; it stands still while Redis is away.",
        feeds=(Feed("mesh_beat", "add"),),
    ),
    Metric(
        "mesh_node_deaths_total",
        "counter",
        "Nodes that this one presumed dead, because they no longer counted.",
        feeds=(Feed("mesh_node_died", "add"),),
    ),
    Metric(
        "mesh_messages_out_total",
        "counter",
        "Messages to other nodes, by kind; committed entries are said by the commit itself and not counted here.",
        ("kind",),
        _SAID,
        feeds=(Feed("mesh_out", "add"),),
    ),
    Metric(
        "mesh_messages_in_total",
        "counter",
        "Messages heard from all nodes, this one included, by kind.",
        ("kind",),
        ("entries", "moved", *_SAID),
        feeds=(Feed("mesh_in", "add"),),
    ),
    Metric(
        "mesh_broken_total",
        "counter",
        "Frames from other nodes that said nothing, by reason; `unknown`: nodes of different versions.",
        ("reason",),
        ("large", "unknown", "malformed", "stored"),
        feeds=(Feed("mesh_broken", "add"),),
    ),
    Metric(
        "mesh_dropped_total",
        "counter",
        "Messages to other nodes that were dropped, because they were too large or too many, by kind.",
        ("kind",),
        ("signal", "told"),
        feeds=(Feed("mesh_dropped", "add"),),
    ),
    Metric(
        "mesh_resubscriptions_total",
        "counter",
        "Sessions' channels that were subscribed again after their connection was lost or their slot moved.",
        feeds=(Feed("mesh_resubscribed", "add"),),
    ),
    Metric(
        "mesh_mended_total",
        "counter",
        "What a look at the store found and no message had told (yet), by what it was.",
        ("kind",),
        ("entries", "presence"),
        feeds=(Feed("mesh_mended", "add"),),
    ),
)
