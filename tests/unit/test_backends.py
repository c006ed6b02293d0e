"""What a configuration means for the ports."""

from __future__ import annotations

import pytest

from syncbridge.backends import node_name_of
from syncbridge.config import Settings


def test_a_nodes_name_is_the_configured_one_else_one_of_its_own() -> None:
    assert node_name_of(Settings(node_name="blue-1")) == "blue-1"
    made = {node_name_of(Settings()) for _ in range(100)}
    assert len(made) == 100
    for name in made:
        assert Settings(node_name=name).node_name == name, "a made name is one that could be configured"


def test_a_hosts_name_that_is_no_nodes_is_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "büro/" + 300 * "x")
    name = node_name_of(Settings())
    assert Settings(node_name=name).node_name == name
    assert name.startswith("b-ro-x")
