"""An edit on its way, as an app awaits it: its answer, its refusal, or the end of its session."""

from __future__ import annotations

import asyncio

import pytest

from syncbridge.client import Acked, Device, Mutation, connect
from syncbridge.core.messages import Left
from syncbridge.errors import NotFound, Unavailable
from tests.unit.client.fake_service import FakeService


async def test_an_answer_that_came_is_not_forgotten_when_the_session_ends() -> None:
    mutation = Mutation(1)
    mutation.settle(Acked(7))
    mutation.abandon(NotFound())
    assert (await mutation.acked()).version == 7


@pytest.mark.parametrize("ending", ["deleted", "closed"])
async def test_whoever_awaits_an_edit_is_told_that_its_session_ended(ending: str) -> None:
    service = FakeService()
    async with connect("ws://test/v1/ws", token="t", device=Device("phone"), dial=service.dial) as bridge:
        session = await bridge.join("s")
        line = service.line_of("phone")
        service.is_deaf = True
        waiting = asyncio.ensure_future((await session.set("/notes", "on its way")).acked())
        await asyncio.sleep(0)
        assert not waiting.done()
        if ending == "deleted":
            line.say(Left("s", "deleted"))
            with pytest.raises(NotFound):
                await waiting
    if ending == "closed":
        with pytest.raises(Unavailable):
            await waiting
