"""A whole service whose keys are in Vault: rotated by the handbook's procedure without a restart, under load."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import jwt
import pytest
import websockets
from pydantic import SecretStr
from structlog.testing import capture_logs

from deploy.local.process import accepts, free_port
from deploy.local.vault import Vault
from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.errors import Unavailable
from syncbridge.secrets import schedule
from syncbridge.secrets.schedule import Overlap
from tests.integration.vault.conftest import DEADLINE_S, ROOT, Place

PASSWORD = "correct horse battery staple"
PERSON = {"email": "ann@example.com", "password": PASSWORD}
CONNECTS_A_SECOND = 100
AUTH = AuthRules(
    argon2_time_cost=1,
    argon2_memory_kib=8,
    access_token_ms=60_000,
    key_lead_ms=1_000,
    key_refresh_ms=200,
    login_burst=100_000,
)


def settings_for(place: Place, folder: Path, **more: object) -> Settings:
    named = {"vault_addr": place.vault.url, "vault_token": SecretStr(place.vault.token), "vault": place.rules}
    return Settings.model_validate({"port": 0, "data_dir": folder / "data", "auth": AUTH, **named, **more})


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is opened in the test, closed after it."""
    async with AsyncExitStack() as stack:
        yield stack


class Crowd:
    """Devices that connect a hundred times a second with the newest token and with the oldest, and count answers."""

    def __init__(self, service: Service, http: httpx.AsyncClient, pair: dict[str, str]) -> None:
        self.address = f"ws://127.0.0.1:{service.server.port}/v1/ws"
        self.http = http
        self.pair = pair
        self.tokens = [pair["access_token"]]
        self.answers: Counter[str] = Counter()
        self.is_over = False

    @property
    def kid(self) -> str:
        return str(jwt.get_unverified_header(self.tokens[-1])["kid"])

    async def renew(self) -> None:
        while not self.is_over:
            body = {"grant_type": "refresh_token", "refresh_token": self.pair["refresh_token"]}
            answer = await self.http.post("/v1/auth/token", json=body)
            assert answer.status_code == 200, answer.text
            self.pair = answer.json()
            self.tokens.append(self.pair["access_token"])
            await asyncio.sleep(0.02)

    async def connect(self, token: str) -> str:
        """What the service says to a hello with this token: `welcome`, or an error's code."""
        async with websockets.connect(
            self.address, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)], close_timeout=1
        ) as socket:
            hello = {"type": "hello", "token": token, "device": {"id": "phone", "name": "phone"}}
            await socket.send(json.dumps(hello))
            heard = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE_S))
            return str(heard.get("code") or heard["type"])

    async def come(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            due_s = loop.time()
            while not self.is_over:
                token = self.tokens[0] if len(self.answers) % 2 else self.tokens[-1]
                group.create_task(self._once(token))
                due_s += 1 / CONNECTS_A_SECOND
                await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _once(self, token: str) -> None:
        self.answers[await self.connect(token)] += 1


async def make_crowd(service: Service, stack: AsyncExitStack) -> Crowd:
    base = f"http://127.0.0.1:{service.server.port}"
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=DEADLINE_S, trust_env=False))
    return Crowd(service, http, (await http.post("/v1/accounts", json=PERSON)).json())


async def test_rotation_by_the_handbook_refuses_no_token_and_a_deleted_key_is_refused_soon(
    place: Place, tmp_path: Path, stack: AsyncExitStack
) -> None:
    place.rotate()
    service = await stack.enter_async_context(Service.running(settings_for(place, tmp_path)))
    crowd = await make_crowd(service, stack)
    assert crowd.kid.startswith("v1-")
    first = crowd.tokens[0]
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        group.create_task(crowd.renew())
        group.create_task(crowd.come())
        await asyncio.sleep(0.2)
        await asyncio.to_thread(place.rotate)
        while not crowd.kid.startswith("v2-"):  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
        crowd.is_over = True
    # `unavailable` is a machine that is too busy to write who came; it is no refusal of a token.
    assert set(crowd.answers) <= {"welcome", "unavailable"}
    assert crowd.answers["welcome"] > CONNECTS_A_SECOND // 2
    assert await crowd.connect(first) == "welcome"  # signed with the old key, and good until it ends
    page = (await crowd.http.get("/metrics")).text
    assert 'signing_keys{state="current"} 1.0' in page
    assert 'secret_age_seconds{secret="signing_keys"}' in page

    # The emergency: the old key is in wrong hands.
    await asyncio.to_thread(place.delete, 1)
    async with asyncio.timeout(DEADLINE_S):
        while (said := await crowd.connect(first)) == "welcome":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert said == "token_invalid"
    assert await crowd.connect(crowd.tokens[-1]) == "welcome"


async def test_without_the_lead_tokens_are_refused(
    place: Place, tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: a new key signs at once. A node that has not read it yet refuses what another one signed."""
    real = schedule.schedule
    monkeypatch.setattr(
        "syncbridge.adapters.cluster.vault.keys.schedule",
        lambda versions, overlap: real(versions, Overlap(0, overlap.last_use_ms)),
    )
    place.rotate()
    slow = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, key_lead_ms=60_000, key_refresh_ms=30_000)
    here = await stack.enter_async_context(Service.running(settings_for(place, tmp_path / "here", auth=slow)))
    there = await stack.enter_async_context(Service.running(settings_for(place, tmp_path / "there", auth=slow)))
    crowd = await make_crowd(here, stack)
    assert await there.authority.ring.ask("made-up") is False  # so that it may not ask again now
    place.rotate()
    await here.authority.refresh_keys()
    body = {"grant_type": "refresh_token", "refresh_token": crowd.pair["refresh_token"]}
    token = (await crowd.http.post("/v1/auth/token", json=body)).json()["access_token"]
    kid = str(jwt.get_unverified_header(token)["kid"])
    assert kid.startswith("v2-")
    assert there.authority.ring.find(kid) is None


async def test_vault_that_is_away_is_no_error_of_anybody_and_is_told(
    own_vault: Vault, tmp_path: Path, stack: AsyncExitStack
) -> None:
    place = Place(own_vault, tmp_path)
    place.rotate()
    with capture_logs() as logs:
        service = await stack.enter_async_context(Service.running(settings_for(place, tmp_path)))
        crowd = await make_crowd(service, stack)
        for end in (own_vault.process.freeze, own_vault.process.kill):
            end()
            failures = sum(service.secrets.standings[0].failures.values())
            async with asyncio.timeout(DEADLINE_S):
                while sum(service.secrets.standings[0].failures.values()) <= failures:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert await crowd.connect(crowd.tokens[0]) == "welcome"
            body = {"grant_type": "password", **PERSON}
            assert (await crowd.http.post("/v1/auth/token", json=body)).status_code == 200
        report = (await crowd.http.get("/health")).json()
        assert (report["status"], report["dependencies"]["secrets"]["status"]) == ("degraded", "down")
        assert (await crowd.http.get("/health/ready")).status_code == 200
        page = (await crowd.http.get("/metrics")).text
        assert 'secret_failures_total{kind="unreachable"}' in page
    kinds = [line["kind"] for line in logs if line["event"].startswith("a secret cannot be had anew")]
    assert {"timeout", "unreachable"} <= set(kinds)
    assert len(kinds) < 12  # told when it changes, not at each try
    assert own_vault.token not in [str(value) for line in logs for value in line.values()]


@pytest.mark.parametrize("spoilt", ["sealed", "denied", "empty", "weak"])
async def test_start_that_needs_an_operator_says_what_to_mend(own_vault: Vault, tmp_path: Path, spoilt: str) -> None:
    place, token = Place(own_vault, tmp_path), own_vault.token
    said = f"there is nothing at secret/metadata/{place.path}"
    if spoilt == "sealed":
        own_vault.client().adapter.post("/v1/sys/seal")
        said = "is sealed, or has no active node (503); unseal it"
    elif spoilt == "denied":
        made = own_vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["default"]})
        token = made["auth"]["client_token"]
        said = f"the policy does not allow secret/metadata/{place.path}"
    elif spoilt == "weak":
        place.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=changeme")
        said = "is too weak; expected at least 256 random bits"
    settings = settings_for(place, tmp_path, vault_token=SecretStr(token))
    with pytest.raises(Unavailable) as refused:
        async with Service.running(settings):
            pass
    assert said in str(refused.value)
    assert token not in str(refused.value)


async def test_cold_start_without_vault_opens_no_port_and_ends_with_1(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "SYNCBRIDGE_PORT": str(port),
        "SYNCBRIDGE_DATA_DIR": str(tmp_path / "data"),
        "SYNCBRIDGE_VAULT_ADDR": f"http://127.0.0.1:{nobody}",
        "SYNCBRIDGE_VAULT_TOKEN": "canary-token",
        "SYNCBRIDGE_VAULT__START_WAIT_MS": "1200",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "syncbridge", "serve"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    was_open = False
    reading = asyncio.create_task(process.communicate())
    async with asyncio.timeout(DEADLINE_S):
        while not reading.done():
            was_open = was_open or accepts(port)
            await asyncio.sleep(0.05)
    printed = (await reading)[0].decode()
    assert (process.returncode, was_open) == (1, False), printed
    assert "a start waits for its secrets" in printed
    assert f"nobody answers for Vault at http://127.0.0.1:{nobody}" in printed
    assert "canary-token" not in printed


async def test_start_waits_for_a_vault_that_is_sealed_and_unsealed(own_vault: Vault, tmp_path: Path) -> None:
    """A cluster that is switched on: Vault comes a moment later."""
    place = Place(own_vault, tmp_path)
    place.rotate()
    own_vault.process.freeze()
    patient = place.rules_with(start_wait_ms=20_000, timeout_ms=300)
    with capture_logs() as logs:

        async def start() -> None:
            async with Service.running(settings_for(place, tmp_path, vault=patient)):
                pass

        starting = asyncio.create_task(start())
        async with asyncio.timeout(DEADLINE_S):
            while not any(line["event"] == "a start waits for its secrets" for line in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            own_vault.process.thaw()
            await starting
    assert [line["kind"] for line in logs if line["event"] == "a start waits for its secrets"] == ["timeout"]
