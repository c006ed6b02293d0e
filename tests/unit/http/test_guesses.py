"""Wrong passwords and wrong one-time codes are counted, however they come."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.unit.http.conftest import PASSWORD, World

LOG_IN = {"email": "ann@example.com", "password": PASSWORD}


async def test_guesses_made_at_once_count_as_those_made_one_by_one(world: World, ann: httpx.AsyncClient) -> None:
    async def guess(number: int, password: str) -> str:
        async with world.client(address=f"192.0.2.{number}") as client:
            answer = await client.post("/v1/auth/token", json=LOG_IN | {"password": password})
            return str(answer.json().get("code", "good"))

    codes = await asyncio.gather(*(guess(number, PASSWORD if number == 9 else "wrong") for number in range(10)))
    assert sorted(codes) == ["bad_credentials"] * 3 + ["rate_limited"] * 7


@pytest.mark.parametrize(
    ("method", "path", "right", "wrong"),
    [
        ("POST", "/v1/auth/token", LOG_IN, LOG_IN | {"password": "wrong"}),
        ("PUT", "/v1/me/password", {"current": PASSWORD, "new": PASSWORD}, {"current": "wrong", "new": PASSWORD}),
    ],
)
async def test_right_password_uses_up_no_guess(
    ann: httpx.AsyncClient, method: str, path: str, right: dict[str, str], wrong: dict[str, str]
) -> None:
    statuses = [(await ann.request(method, path, json=right)).status_code for _ in range(5)]
    assert len(set(statuses)) == 1
    assert statuses[0] < 300
    assert [(await ann.request(method, path, json=wrong)).status_code for _ in range(4)] == [401, 401, 401, 429]
