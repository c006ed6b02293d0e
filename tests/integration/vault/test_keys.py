"""Signing keys in Vault, written there by the very commands of the operators' handbook."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.local.vault import Vault
from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.adapters.cluster.vault.keys import VaultKeys
from syncbridge.auth.keyring import KeyRing, states
from syncbridge.errors import Unavailable
from syncbridge.runtime.clock import ServerClock
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.schedule import Overlap
from tests.integration.vault.conftest import Place

OVERLAP = Overlap(60_000, 960_000)


class Ahead:
    """The server's clock, moved on by a test."""

    def __init__(self) -> None:
        self._clock = ServerClock()
        self.ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ms


@pytest.fixture
def clock() -> Ahead:
    """A clock that a test moves."""
    return Ahead()


@pytest.fixture
async def client(vault: Vault, place: Place) -> AsyncIterator[VaultClient]:
    """Who may read every path."""
    opened = VaultClient(vault.url, place.rules, vault.token)
    yield opened
    opened.close()


@pytest.fixture
def keys(client: VaultClient, place: Place, clock: Ahead) -> VaultKeys:
    """The keys at this test's path."""
    return VaultKeys(client, place.rules, OVERLAP, clock)


async def said(keys: VaultKeys, clock: Ahead) -> list[str]:
    """What each version is, the newest first."""
    return [f"{key.kid.partition('-')[0]} {state}" for key, state in states(await keys.ask(), clock.now_ms())]


async def test_command_of_the_handbook_makes_the_first_key_and_every_next_one(
    keys: VaultKeys, place: Place, clock: Ahead
) -> None:
    place.rotate()
    assert await said(keys, clock) == ["v1 current"]
    written = place.shell("vault kv get -mount=secret -field=signing_key harmonyflow/jwt").strip()
    assert [key.secret for key in await keys.read()] == [written.encode()]
    place.rotate()
    assert await said(keys, clock) == ["v2 next", "v1 current"]
    clock.ms = OVERLAP.lead_ms
    assert await said(keys, clock) == ["v2 current", "v1 previous"]
    clock.ms += OVERLAP.last_use_ms
    assert await said(keys, clock) == ["v2 current", "v1 retired"]


async def test_every_node_has_the_same_names_and_moments(
    keys: VaultKeys, place: Place, client: VaultClient, clock: Ahead
) -> None:
    place.rotate()
    first = await keys.ask()
    place.rotate()
    # One that was there before the rotation, and one that starts after it.
    assert await keys.ask() == await VaultKeys(client, place.rules, OVERLAP, clock).ask()
    assert first[0].kid == (await keys.ask())[0].kid
    # Another secret at another path is another key, whatever its version is.
    elsewhere = Place(place.vault, place.folder)
    elsewhere.rotate()
    assert (await VaultKeys(client, elsewhere.rules, OVERLAP, clock).ask())[0].kid != first[0].kid


@pytest.mark.parametrize("command", ["delete", "destroy"])
async def test_version_that_an_operator_deletes_is_retired_at_once(
    keys: VaultKeys, place: Place, clock: Ahead, command: str
) -> None:
    place.rotate()
    ring = KeyRing(keys, clock)
    await ring.refresh()
    leaked = ring.current().kid
    place.rotate()
    place.shell(f"vault kv {command} -mount=secret -versions=1 harmonyflow/jwt")
    await ring.refresh()
    assert ring.find(leaked) is None
    assert ring.knows(leaked)  # it is refused as retired, and nobody is asked about it
    assert ring.current().kid.startswith("v2-")
    # A key that had signed stays retired when the one after it is deleted too, and there is none then.
    clock.ms = OVERLAP.lead_ms + 1
    place.delete(2)
    with pytest.raises(SecretFault, match=f"every version of secret/{place.path} is deleted; write a new one"):
        await keys.ask()


async def test_version_that_is_no_key_is_left_out_and_told(keys: VaultKeys, place: Place, clock: Ahead) -> None:
    place.rotate()
    assert await said(keys, clock) == ["v1 current"]
    place.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=changeme-canary")
    place.shell("vault kv put -mount=secret harmonyflow/jwt another_field=x")
    assert await said(keys, clock) == ["v1 current"]
    clock.ms = OVERLAP.lead_ms + OVERLAP.last_use_ms
    assert await said(keys, clock) == ["v1 current"]  # it is not retired for the sake of what is no key
    assert keys.standing.failures == {"weak": 1, "malformed": 1}
    place.rotate()
    assert [key.kid.partition("-")[0] for key in await keys.ask()] == ["v1", "v4"]


async def test_start_with_nothing_but_a_weak_key_says_what_would_be_one(keys: VaultKeys, place: Place) -> None:
    place.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=changeme-canary")
    with pytest.raises(SecretFault, match="too weak; expected at least 256 random bits") as refused:
        await keys.ask()
    assert place.path in str(refused.value)
    assert "canary" not in str(refused.value)


async def test_path_without_a_secret_is_named(keys: VaultKeys, place: Place) -> None:
    with pytest.raises(SecretFault, match=f"there is nothing at secret/metadata/{place.path}") as refused:
        await keys.ask()
    assert refused.value.kind == "missing"


async def test_reason_is_for_the_operator_and_not_for_whoever_showed_a_token(keys: VaultKeys, place: Place) -> None:
    with pytest.raises(Unavailable) as refused:
        await keys.read()
    assert place.path not in str(refused.value)
    assert keys.standing.fault is not None
    assert place.path in str(keys.standing.fault)


async def test_text_of_a_version_is_read_once(keys: VaultKeys, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.rotate()
    asked: list[str] = []
    real = VaultClient.read

    async def read(self: VaultClient, path: str, version: int | None = None) -> object:
        asked.append(path)
        return await real(self, path, version)

    monkeypatch.setattr(VaultClient, "read", read)
    for _ in range(3):
        await keys.ask()
    assert [path.split("/")[1] for path in asked] == ["metadata", "data", "metadata", "metadata"]
