"""Nobody reads, changes or even notices what is not theirs, by any route of REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.errors import NotFound
from syncbridge.http.app import bare_app
from syncbridge.http.context import OwnedSessions
from tests.isolation.asking import operations, told_apart, unnamed
from tests.isolation.world import World, world

STRANGERS = [
    "no token",
    "another account",
    "a one-time code's token for another session",
    "a token bound to another device",
]
FOUND = list(operations(bare_app().openapi()))


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_every_parameter_of_every_route_has_a_foreign_an_unknown_and_a_former_thing(there: World) -> None:
    assert len(FOUND) >= 15
    assert unnamed(FOUND, there) == []


@pytest.mark.parametrize("who", STRANGERS)
async def test_what_is_somebody_elses_is_answered_as_what_does_not_exist(there: World, who: str) -> None:
    before = await there.belongings()
    assert await told_apart(there, there.strangers[who], FOUND) == []
    assert await there.belongings() == before


async def test_owner_is_answered_otherwise(there: World) -> None:
    session = there.names["session"]["foreign"]
    answer = await there.olga.ask("GET", f"/v1/sessions/{session}/state")
    assert answer.status_code == 200
    assert "canary-of-olga" in there.olga.told[0]


async def test_check_of_ownership_left_out_is_seen(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def require(*_: object) -> None:
        """Everything is everybody's."""

    monkeypatch.setattr(OwnedSessions, "require", require)
    before = await there.belongings()
    complaints = await told_apart(there, there.strangers["another account"], FOUND)
    assert any(one.startswith("PATCH /v1/sessions/{session} by session: foreign was answered") for one in complaints)
    assert any(one.startswith("told of Olga") for one in complaints)
    assert await there.belongings() != before


async def test_answer_that_tells_a_removed_one_apart_is_seen(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = OwnedSessions.require

    async def require(self: OwnedSessions, account: object, session: str) -> None:
        if session == there.names["session"]["foreign"]:
            raise NotFound("It is not yours.")
        await real(self, account, session)  # type: ignore[arg-type]

    monkeypatch.setattr(OwnedSessions, "require", require)
    complaints = await told_apart(there, there.strangers["another account"], FOUND)
    assert any("foreign" in one and "It is not yours." in one for one in complaints)
