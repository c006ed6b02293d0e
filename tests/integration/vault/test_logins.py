"""Every way to log in, for as long as somebody asks; and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from deploy.local.vault import Vault
from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.rules import VaultRules
from tests.integration.vault.conftest import Place

Open = Callable[..., VaultClient]
FROZEN_S_MAX = 10.0
"""Three times the time-out, and as much again for a busy machine; without one, it would be for ever."""


@pytest.fixture
async def open_client(vault: Vault) -> AsyncIterator[Open]:
    """Makes clients, and closes them."""
    opened: list[VaultClient] = []

    def make(rules: VaultRules, token: str = "", url: str = "", **more: Any) -> VaultClient:
        opened.append(VaultClient(url or vault.url, rules, token, **more))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def new_secret_id(vault: Vault, file: Path, role: str = "syncbridge") -> None:
    answer = vault.client().adapter.post(f"/v1/auth/approle/role/{role}/secret-id", json={})
    file.write_text(str(answer["data"]["secret_id"]) + "\n")


def approle(vault: Vault, place: Place, role: str = "syncbridge") -> VaultRules:
    answer = vault.client().adapter.get(f"/v1/auth/approle/role/{role}/role-id")
    file = place.folder / "secret_id"
    new_secret_id(vault, file, role)
    return place.rules_with(method="approle", role_id=answer["data"]["role_id"], secret_id_file=str(file))


def make_role(vault: Vault, name: str, **more: str) -> None:
    vault.client().adapter.post(f"/v1/auth/approle/role/{name}", json={"token_policies": "syncbridge", **more})


class Onward:
    """The clock of a client, moved on by a test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


async def read_key(client: VaultClient) -> dict[str, Any]:
    return await client.read("secret/metadata/harmonyflow/jwt")


async def test_token_logs_in_and_its_file_is_read_anew(vault: Vault, place: Place, open_client: Open) -> None:
    file = place.folder / "token"
    first = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["syncbridge"], "ttl": "1h"})
    file.write_text(first["auth"]["client_token"])
    client = open_client(place.rules_with(token_file=str(file)))
    assert await read_key(client)
    # An agent writes another one, and the old is revoked.
    second = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["syncbridge"], "ttl": "1h"})
    file.write_text(second["auth"]["client_token"])
    vault.client().adapter.post("/v1/auth/token/revoke", json={"token": first["auth"]["client_token"]})
    assert await read_key(client)
    assert client.generation == 2


async def test_approle_logs_in_by_the_policy_of_the_deployment(vault: Vault, place: Place, open_client: Open) -> None:
    client = open_client(approle(vault, place))
    assert await read_key(client)
    with pytest.raises(SecretFault, match="the policy does not allow secret/data/other") as denied:
        await client.read("secret/data/other")
    assert denied.value.kind == "denied"
    with pytest.raises(SecretFault, match="403"):
        await client.write("secret/data/harmonyflow/jwt", {"data": {"signing_key": "x"}})


async def test_token_is_renewed_until_it_cannot_be_and_then_another_log_in_is_made(
    vault: Vault, place: Place, open_client: Open
) -> None:
    """The client's clock is moved on, and Vault's is not: so no step depends on how fast this machine is."""
    clock = Onward()
    make_role(vault, "brief", token_ttl="60s", token_max_ttl="10m")
    client = open_client(approle(vault, place, "brief"), now_s=clock)
    await client.keep()
    with capture_logs() as logs:
        clock.ahead_s = 35.0
        assert 0 < await client.keep() <= 5  # not before two thirds of its life
        clock.ahead_s = 41.0
        assert 35 < await client.keep() <= 40  # as good as new
        assert (await read_key(client), client.generation, logs) == (ANY, 1, [])
        first = client._token
        assert first is not None
        # The end of all renewals is near: one gives less than two thirds of what the token had when it was new.
        make_role(vault, "brief", token_ttl="30s", token_max_ttl="30s")
        clock.ahead_s += 41.0
        await client.keep()
        assert (await read_key(client), client.generation) == (ANY, 2)
        await open_client(place.rules, first.text).read("secret/metadata/harmonyflow/jwt")  # its leases go on
        # Nobody looked after it until it had ended.
        clock.ahead_s += 31.0
        assert (await read_key(client), client.generation) == (ANY, 3)
        # It was revoked, so it cannot be renewed.
        assert client._token is not None
        vault.client().adapter.post("/v1/auth/token/revoke", json={"token": client._token.text})
        clock.ahead_s += 21.0
        await client.keep()
        assert (await read_key(client), client.generation) == (ANY, 4)
    assert [line["event"] for line in logs] == ["logged in at Vault anew"] * 3, logs


class Kubernetes(BaseHTTPRequestHandler):
    """The API server's TokenReview: whose service account a token is."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        claims = jwt.decode(asked["spec"]["token"], options={"verify_signature": False})
        status = {
            "authenticated": claims["sub"] == "system:serviceaccount:harmonyflow:session-state-service",
            "user": {"username": claims["sub"], "uid": "uid-1", "groups": ["system:serviceaccounts"]},
        }
        body = json.dumps({**asked, "status": status}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_told: Any) -> None:
        """It is no part of the test's output."""


@pytest.fixture
def kubernetes() -> Iterator[str]:
    """The address of an API server that knows one service account."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubernetes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def account_token(name: str) -> str:
    claims = {
        "sub": f"system:serviceaccount:harmonyflow:{name}",
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "harmonyflow",
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": "uid-1",
    }
    # Signed by a key that nobody knows: the API server alone says whether it is good.
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256")


async def test_service_account_of_kubernetes_logs_in_and_another_one_does_not(
    vault: Vault, place: Place, kubernetes: str, open_client: Open
) -> None:
    api = vault.client().adapter
    mount = place.path.replace("/", "-")
    api.post(f"/v1/sys/auth/{mount}", json={"type": "kubernetes"})
    settings = {
        "kubernetes_host": kubernetes,
        "kubernetes_ca_cert": trustme.CA().cert_pem.bytes().decode(),
        "disable_local_ca_jwt": True,
        "disable_iss_validation": True,
    }
    api.post(f"/v1/auth/{mount}/config", json=settings)
    role = {
        "bound_service_account_names": "session-state-service",
        "bound_service_account_namespaces": "harmonyflow",
        "token_policies": "syncbridge",
        "token_ttl": "1h",
    }
    api.post(f"/v1/auth/{mount}/role/syncbridge", json=role)
    file = place.folder / "service-account"
    file.write_text(account_token("session-state-service"))
    rules = place.rules_with(
        method="kubernetes", mount=mount, kubernetes_role="syncbridge", kubernetes_jwt_file=str(file)
    )
    assert await read_key(open_client(rules))
    file.write_text(account_token("somebody-else"))
    with pytest.raises(SecretFault, match="role syncbridge is unknown, or not bound") as refused:
        await read_key(open_client(rules))
    assert refused.value.kind == "log_in"
    file.unlink()
    with pytest.raises(SecretFault, match="service-account cannot be read"):
        await read_key(open_client(rules))


@pytest.mark.parametrize("spoilt", ["role", "secret", "file", "token", "none"])
async def test_log_in_that_is_refused_says_what_to_mend_and_no_secret(
    vault: Vault, place: Place, open_client: Open, spoilt: str
) -> None:
    rules, token = place.rules, "canary-token"
    if spoilt in ("role", "secret", "file"):
        rules = approle(vault, place)
        file = Path(rules.secret_id_file)
        if spoilt == "role":
            rules = place.rules_with(method="approle", role_id="canary-role", secret_id_file=str(file))
        elif spoilt == "secret":
            place.write("secret_id", "canary-secret")
        else:
            place.write("secret_id", None)
    if spoilt == "none":
        token = ""
    with pytest.raises(SecretFault) as refused:
        await read_key(open_client(rules, token))
    assert refused.value.kind == "log_in"
    assert "canary" not in str(refused.value)
    assert {
        "role": "vault.role_id is unknown",
        "secret": "is used up or ended",
        "file": "cannot be read",
        "token": "unknown, ended or revoked",
        "none": "SYNCBRIDGE_VAULT_TOKEN",
    }[spoilt] in str(refused.value)


async def test_missing_policy_makes_one_log_in_and_not_one_a_question(
    vault: Vault, place: Place, open_client: Open
) -> None:
    client = open_client(approle(vault, place))
    for _ in range(5):
        with pytest.raises(SecretFault, match="403"):
            await client.read("secret/data/other")
    assert client.generation == 2


async def test_sealed_frozen_killed_and_strange_servers_are_each_named(own_vault: Vault, open_client: Open) -> None:
    client = open_client(VaultRules(timeout_ms=1_500), "root", own_vault.url)
    assert await client.read("secret/config")
    assert client.generation == 1
    own_vault.client().adapter.post("/v1/sys/seal")
    await _refused(client, "sealed", "unseal it")
    own_vault.process.freeze()
    begin = asyncio.get_running_loop().time()
    await _refused(client, "timeout", "slow, frozen or cut off")
    assert asyncio.get_running_loop().time() - begin < FROZEN_S_MAX
    own_vault.process.thaw()
    own_vault.process.kill()
    await _refused(client, "unreachable", "nobody answers")


async def test_frozen_server_never_stops_the_loop(own_vault: Vault, open_client: Open) -> None:
    client = open_client(VaultRules(timeout_ms=2_000), "root", own_vault.url)
    await client.keep()
    own_vault.process.freeze()
    loop, turns = asyncio.get_running_loop(), 0
    asking = loop.create_task(_refused(client, "timeout", "slow"))
    latest, worst = loop.time(), 0.0
    while not asking.done():
        await asyncio.sleep(0)
        now = loop.time()
        worst, latest, turns = max(worst, now - latest), now, turns + 1
    await asking
    assert turns > 100
    assert worst < 1.0  # half of one time-out: a call in the loop would take all of it


async def _refused(client: VaultClient, kind: str, said: str) -> None:
    with pytest.raises(SecretFault, match=said) as refused:
        await client.read("secret/config")
    assert refused.value.kind == kind
