"""Log-ins that change while the link is used, users with few rights, and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.link.dialling import ADVICE, CannotConnect
from syncbridge.adapters.cluster.link.inspection import inspect_redis
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.rules import Rules
from syncbridge.adapters.cluster.trust import CannotTrust
from syncbridge.ports import Credentials
from tests.integration.redis.asking import COUNT, command, run, until
from tests.integration.redis.conftest import Open

pytestmark = pytest.mark.serial

FAST = Rules(frozen_ms=300, retry_ms=500, wait_ms=100, connect_ms=500, look_ms=100)


class Rotating:
    """Credentials that the test changes."""

    def __init__(self, username: str, password: str) -> None:
        self._current = Credentials(username, password)
        self._told: list[Callable[[], None]] = []

    def current(self) -> Credentials:
        return self._current

    def watch(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def rotate(self, username: str, password: str) -> None:
        self._current = Credentials(username, password)
        for told in self._told:
            told()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[RedisServer]:
    """A server with a password, and over TLS on the port after its own."""
    folder = tmp_path_factory.mktemp("guarded")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    files = f"--tls-cert-file {folder}/server.pem --tls-key-file {folder}/server.pem --tls-ca-cert-file {folder}/ca.pem"
    server = RedisServer(folder, password="s3cret", options=f"{files} --tls-auth-clients no")
    server.start()
    with server.client() as client:
        client.config_set("tls-port", server.port + 1)
    yield server
    server.stop()


def _users(server: RedisServer, *rules: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", *rules)


def _clients(server: RedisServer) -> dict[str, str]:
    with server.client() as client:
        told = client.client_list()
    return {one["id"]: one["user"] for one in told if one["name"] == "syncbridge"}


async def test_the_password_in_the_url_is_enough(server: RedisServer, open_link: Open, prefix: str) -> None:
    link = await open_link(server.url)
    assert await run(link, COUNT, prefix) == 1


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_bad_log_in_is_told_without_the_password(server: RedisServer, open_link: Open, password: str) -> None:
    expected = (
        rf"^127\.0\.0\.1:{server.port} said: (WRONGPASS|NOAUTH) .* redis_url, redis_password_file or vault\.redis_path"
    )
    with pytest.raises(CannotConnect, match=expected) as caught:
        await open_link(f"redis://:{password}@127.0.0.1:{server.port}", timeout_s=0.3)
    assert password == "" or password not in str(caught.value)


async def test_a_url_of_the_other_kind_is_told_which_one_to_say(
    redis_server: RedisServer, redis_cluster: RedisCluster, open_link: Open
) -> None:
    with pytest.raises(CannotConnect, match=rf"{redis_server.port} is no server of a Redis Cluster: say redis://"):
        await open_link(f"redis+cluster://127.0.0.1:{redis_server.port}", timeout_s=3)
    port = redis_cluster.nodes[0].port
    with pytest.raises(CannotConnect, match=rf"{port} is a server of a Redis Cluster: say redis\+cluster://"):
        await open_link(f"redis://127.0.0.1:{port}", timeout_s=3)


async def test_new_credentials_are_said_on_open_connections_and_nothing_is_dropped(
    server: RedisServer, open_link: Open, prefix: str
) -> None:
    _users(server, f"{prefix}-a", "on", ">first", "~*", "&*", "+@all")
    _users(server, f"{prefix}-b", "on", ">second", "~*", "&*", "+@all")
    source = Rotating(f"{prefix}-a", "first")
    link = await open_link(f"redis://127.0.0.1:{server.port}", credentials=source)
    before = {number for number, user in _clients(server).items() if user == f"{prefix}-a"}
    assert len(before) == link.rules.pipes + 1
    answers = [asyncio.create_task(run(link, COUNT, prefix)) for _ in range(50)]
    await asyncio.sleep(0)
    source.rotate(f"{prefix}-b", "second")
    assert await asyncio.gather(*answers) == list(range(1, 51))
    await until(lambda: {n for n, user in _clients(server).items() if user == f"{prefix}-b"} == before)
    assert link.figures.reconnects == 0
    # The old user may go now; new connections come as the new one.
    with server.client() as client:
        client.acl_deluser(f"{prefix}-a")
    assert await run(link, COUNT, prefix) == 51


async def test_new_credentials_that_are_refused_leave_the_old_ones_in_force(
    server: RedisServer, open_link: Open, prefix: str
) -> None:
    _users(server, f"{prefix}-a", "on", ">first", "~*", "&*", "+@all")
    source = Rotating(f"{prefix}-a", "first")
    link = await open_link(f"redis://127.0.0.1:{server.port}", credentials=source)
    source.rotate(f"{prefix}-a", "of nobody")
    assert await run(link, COUNT, prefix) == 1
    assert link.is_whole()


async def test_what_a_user_may_not_do_is_refused(server: RedisServer, open_link: Open, prefix: str) -> None:
    _users(server, f"{prefix}-a", "on", ">first", f"~{prefix}:*", "&*", "+@all")
    link = await open_link(f"redis://{prefix}-a:first@127.0.0.1:{server.port}")
    refused = await command(link, "GET", "another's")
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.text.split(" ")[0]) == ("refused", "NOPERM")
    assert await command(link, "GET", f"{prefix}:mine") is None


async def test_over_tls_only_a_server_with_a_trusted_certificate_is_talked_to(
    server: RedisServer, open_link: Open, authority: trustme.CA, tmp_path: Path, prefix: str
) -> None:
    url = f"rediss://:s3cret@127.0.0.1:{server.port + 1}"
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    link = await open_link(url, ca_file=str(tmp_path / "ca.pem"))
    assert await run(link, COUNT, prefix) == 1
    with pytest.raises(CannotConnect, match="certificate"):
        await open_link(url, timeout_s=0.5)


async def test_an_onlooker_who_is_not_let_in_is_told_what_to_do(server: RedisServer) -> None:
    _users(server, "poor", "on", ">p", "-@all", "+auth", "+client")
    at = f"127.0.0.1:{server.port}"
    for log_in, advice in ((":wrong@", "WRONGPASS"), ("", "NOAUTH"), ("poor:p@", "NOPERM")):
        (found,) = await inspect_redis(f"redis://{log_in}{at}")
        assert (found.advice, bool(found.fault)) == (ADVICE[advice], True)


async def test_an_onlooker_trusts_the_same_authority(
    server: RedisServer, authority: trustme.CA, tmp_path: Path
) -> None:
    url = f"rediss://:s3cret@127.0.0.1:{server.port + 1}"
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (found,) = await inspect_redis(url, ca_file=str(tmp_path / "ca.pem"))
    assert (found.fault, found.role) == ("", "master")
    (stranger,) = await inspect_redis(url)
    assert "certificate" in stranger.fault


async def test_a_file_that_names_no_authority_is_told_by_its_name(open_link: Open, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for file, said in (("ca.pem", "holds no certificate in PEM"), ("none.pem", "cannot be read: No such file")):
        with pytest.raises(CannotTrust, match=rf"{file} {said}"):
            await open_link("rediss://127.0.0.1:1", ca_file=str(tmp_path / file))


async def test_nobody_there_is_told_by_name(open_link: Open) -> None:
    with pytest.raises(CannotConnect, match=r"127\.0\.0\.1:1"):
        await open_link("redis://127.0.0.1:1", timeout_s=0.2)
