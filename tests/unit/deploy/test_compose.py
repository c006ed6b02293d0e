"""deploy/compose.yaml and the Dockerfile: what can be told of them without Docker."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from syncbridge.config import PREFIX, Settings, load
from tests.house.files import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text("utf-8")
_PINNED = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*")


def environment(service: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[service].get("environment", {}).items()}


@pytest.mark.parametrize("node", ["node-1", "node-2", "migrate"])
def test_a_nodes_variables_are_settings_that_are_taken_together(node: str) -> None:
    settings = load(environment=environment(node))
    assert settings.redis_url is not None
    assert settings.has_shared_records


def test_a_misspelt_variable_would_be_found() -> None:
    with pytest.raises(Exception, match="no such key"):
        load(environment=environment("node-1") | {f"{PREFIX}REDIS_URI": "x"})


def test_every_node_of_the_edge_is_there_and_has_a_name_of_its_own() -> None:
    edge = (ROOT / "deploy/haproxy.cfg").read_text("utf-8")
    nodes = dict(re.findall(r"^  server (\S+) (\S+)$", edge, re.MULTILINE))
    assert set(nodes) == {name for name in SERVICES if name.startswith("node-")}
    assert {place.partition(":")[0] for place in nodes.values()} == set(nodes)
    assert [environment(name)[f"{PREFIX}NODE_NAME"] for name in nodes] == list(nodes)


def test_the_edge_is_told_all_that_its_file_asks_for_and_the_nodes_trust_it() -> None:
    asked = set(re.findall(r"\$(EDGE_\w+)", (ROOT / "deploy/haproxy.cfg").read_text("utf-8")))
    assert asked == set(environment("edge"))
    address = SERVICES["edge"]["networks"]["inside"]["ipv4_address"]
    assert environment("node-1")[f"{PREFIX}TRUSTED_PROXIES"] == address


@pytest.mark.parametrize("name", SERVICES)
def test_its_image_has_a_version(name: str) -> None:
    assert _PINNED.fullmatch(SERVICES[name]["image"]), SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_stays_up_is_watched_and_what_runs_once_ends(name: str) -> None:
    service = SERVICES[name]
    if service.get("restart") == "no":
        return
    is_watched = "test" in service.get("healthcheck", {}) or ("build" in service and "HEALTHCHECK" in DOCKERFILE)
    assert is_watched, f"{name} has no health check"


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_waits_for_is_there_and_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        runs_once = SERVICES[other].get("restart") == "no"
        assert how["condition"] == ("service_completed_successfully" if runs_once else "service_healthy")


def test_passwords_are_the_same_on_both_sides() -> None:
    node = environment("node-1")
    assert f":{environment('redis-1')['REDISCLI_AUTH']}@" in node[f"{PREFIX}REDIS_URL"]
    assert f"--requirepass {environment('redis-1')['REDISCLI_AUTH']}" in SERVICES["redis-1"]["command"]
    database = environment("postgres")
    assert f"//{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@postgres" in node[f"{PREFIX}DATABASE_URL"]
    broker = environment("rabbitmq")
    assert f"//{broker['RABBITMQ_DEFAULT_USER']}:{broker['RABBITMQ_DEFAULT_PASS']}@" in node[f"{PREFIX}AMQP_URL"]


def test_the_image_runs_as_nobody_special_and_copies_only_what_is_there() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["syncbridge"]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(_PINNED.fullmatch(base) for base in bases)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    known = {f"{PREFIX}{key.upper()}" for key in Settings.model_fields}
    assert set(re.findall(rf"({PREFIX}\w+)=", DOCKERFILE)) <= known
