"""Nodes with a fault planted in each are found out by the proofs that found nothing in good ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack

import jwt
import pytest

from deploy.local.node import Node
from tests.nemesis.operations.farewell import take_leave
from tests.nemesis.operations.people import Person, Pusher
from tests.nemesis.operations.stage import Stage
from tests.nemesis.operations.test_full_redis import fill_up, full, missing_in_redis
from tests.nemesis.operations.test_keys import come_over_a_rotation, delete_key_of, hello, refusal
from tests.nemesis.operations.test_records_away import TOLD_S_MAX
from tests.nemesis.operations.test_revocation import BUSY_S, WITHIN_S, revoke
from tests.nemesis.planted import plant

pytestmark = pytest.mark.serial

SELDOM_MS = "60000"


@pytest.fixture(scope="module")
def planted(whole_stage: Stage) -> Iterator[list[Node]]:
    """Two nodes beside the good ones; the second looks for keys once a minute only, as far as the lead lets it."""
    more = [{}, {"SYNCBRIDGE_AUTH__KEY_REFRESH_MS": SELDOM_MS, "SYNCBRIDGE_AUTH__KEY_LEAD_MS": "120000"}]
    with ExitStack() as ending:
        nodes = []
        for number, environment in enumerate(more, 1):
            name = f"planted-{number}"
            node = Node(whole_stage.folder / name, name, {**whole_stage.environment, **environment})
            plant(node, "unheeded,hasty,false-acks,no-lead,kept-keys,tied,patient")
            ending.callback(node.process.kill)
            node.launch()
            nodes.append(node)
        for node in nodes:
            node.wait()
        yield nodes


async def test_a_node_that_does_not_ask_what_another_one_revoked_is_found_out(
    planted: list[Node], stack: AsyncExitStack
) -> None:
    seen = await revoke(planted, stack, "account", name="unheeded", within_s=WITHIN_S + BUSY_S)
    assert seen.still_open == {"hit-there"}


async def test_a_node_that_acknowledges_what_redis_refused_is_found_out(
    stage: Stage, planted: list[Node], stack: AsyncExitStack
) -> None:
    ann = await Person.new("false-acks@example.com", planted[0], stack)
    session = await ann.make_session(planted[0])
    pusher = Pusher(await ann.device(planted[0], "phone", session), session, "lost")
    await pusher.push_through()
    with full(stage, "memory"):
        assert await fill_up(pusher, pushes_max=3) == ""
        assert await missing_in_redis(stage, pusher) == ["lost-1", "lost-2", "lost-3"]


async def test_a_key_that_signs_before_every_node_knows_it_is_found_out(
    stage: Stage, planted: list[Node], stack: AsyncExitStack
) -> None:
    ann = await Person.new("no-lead@example.com", planted[0], stack)
    # An unknown key is asked for at once, but not twice in a while: that is no way out.
    claims = jwt.decode(ann.token, options={"verify_signature": False})
    stranger = jwt.encode(claims, "0" * 32, "HS256", headers={"kid": "v999-unknown"})
    assert await hello(ann, planted[1], stranger) == "token_invalid"
    answers, _ = await come_over_a_rotation(stage, planted, ann, ann.token)
    assert set(answers) == {"welcome", "token_invalid"}


async def test_a_node_that_keeps_a_deleted_key_in_force_is_found_out(
    stage: Stage, planted: list[Node], stack: AsyncExitStack
) -> None:
    ann = await Person.new("kept-keys@example.com", stage.nodes[0], stack)
    first = ann.token
    await come_over_a_rotation(stage, stage.nodes, ann, first)
    delete_key_of(stage, first)
    assert [await refusal(ann, node, first) for node in stage.nodes] == ["token_invalid"] * 2
    assert await hello(ann, planted[0], first) == "welcome"


async def test_a_node_whose_pushes_and_log_ins_wait_for_postgresql_is_found_out(
    stage: Stage, planted: list[Node], stack: AsyncExitStack
) -> None:
    ann = await Person.new("tied@example.com", planted[0], stack)
    session = await ann.make_session(planted[0])
    pusher = Pusher(await ann.device(planted[0], "phone", session), session, "late")
    await pusher.push_through()
    stage.postgres.freeze()
    pushing = asyncio.ensure_future(pusher.push())
    began = time.monotonic()
    assert (await ann.log_in(planted[0])).status_code == 503
    assert time.monotonic() - began > TOLD_S_MAX + BUSY_S
    assert ((answer := await pushing)["type"], answer["code"]) == ("reject", "unavailable")
    stage.mend()
    await pusher.push_through()


async def test_a_node_that_ends_in_haste_is_found_out(stage: Stage, planted: list[Node], stack: AsyncExitStack) -> None:
    """The last of these: its node is gone."""
    farewell = await take_leave(stage, planted[0], stage.nodes[0], "hasty", stack)
    print(farewell)
    assert {fault.partition(":")[0] for fault in farewell.faults} == {"goodbye", "unanswered"}
    assert farewell.goodbyes_ms == []
