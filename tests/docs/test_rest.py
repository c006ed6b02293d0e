"""The tour of docs/rest.md is taken: every request as it stands there, every answer as it is shown."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from tests.docs import pages
from tests.integration.service.conftest import Client

PAGE = "docs/rest.md"
BLOCKS = [block for block in pages.blocks(*pages.infos()) if block.page == PAGE]
TIME_MS_LEAST = 10**12


def test_every_request_and_answer_of_the_pages_is_in_the_tour() -> None:
    shown = [block for block in pages.blocks(*pages.infos()) if block.info == "http" or is_answer(block)]
    assert {block.page for block in shown} == {PAGE}


def is_answer(block: pages.Block) -> bool:
    return block.info.startswith("json answer")


def fits(shown: Any, came: Any) -> bool:
    """Whether what came holds what is shown."""
    if shown == "...":
        return came is not None
    if isinstance(shown, dict):
        return isinstance(came, dict) and all(name in came and fits(shown[name], came[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(came, list) and len(shown) == len(came) and all(map(fits, shown, came))
    if isinstance(shown, int) and shown >= TIME_MS_LEAST:
        return isinstance(came, int) and came >= TIME_MS_LEAST
    return type(shown) is type(came) and bool(shown == came)


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ([1], [1, 2]),
        ("...", None),
        (True, 1),
        (10**12, 5),
        ({"a": None}, {"a": 0}),
    ],
)
def test_an_answer_that_is_not_as_shown_does_not_fit(shown: Any, came: Any) -> None:
    assert not fits(shown, came)
    assert fits({"a": 10**12, "b": "..."}, {"a": 10**12 + 5, "b": [], "c": 1})


async def ask(http: httpx.AsyncClient, text: str, sessions: dict[str, str]) -> httpx.Response:
    """The request of a block: its line, its headers, and its body after an empty line; sessions by the page's names."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.strip().splitlines()
    method, address = first.split(" ")
    headers = dict(re.split(r": *", line, maxsplit=1) for line in lines)
    if body:
        headers.setdefault("Content-Type", "application/json")
    for name, session in sessions.items():
        address = re.sub(rf"^{name}\b", f"/v1/sessions/{session}", address)
    return await http.request(method, address, content=body, headers=headers)


async def test_the_tour_goes_as_the_page_says(tmp_path: Path) -> None:
    rules = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service.running(Settings(port=0, data_dir=tmp_path, auth=rules)))
        ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
        stack.push_async_callback(ann.http.aclose)
        await ann.make_account()
        made = {"type": "custom", "title": "evening", "state": {"notes": "", "mood": 5}}
        session = str((await ann.http.post("/v1/sessions", json=made)).json()["id"])
        for device, notes in (("tv", "from the TV"), ("phone", "from the phone")):
            speaker = await ann.device(device, session)
            ops = [{"op": "replace", "path": "/notes", "value": notes}]
            await speaker.say(type="push", session=session, seq=1, base=1, ops=ops)
            await speaker.hear("ack")
        await service.records.directory.flush()
        answer: httpx.Response | None = None
        asked = 0
        sessions = {"SESSION": session}
        for block in BLOCKS:
            if block.info == "http":
                assert answer is None or answer.status_code < 400, f"{block}: the refusal before it is not shown"
                answer = await ask(ann.http, block.text, sessions)
                if block.text.startswith("POST /v1/sessions\n"):
                    sessions["NEW"] = answer.json()["id"]
                asked += 1
            elif is_answer(block):
                assert answer is not None, f"{block} answers nothing"
                status = int(block.info.removeprefix("json answer").strip() or 200)
                assert answer.status_code in ({201, 200} if status == 200 else {status}), f"{block}: {answer.text}"
                assert fits(json.loads(block.text), answer.json()), f"{block}: {answer.text}"
                answer = None
        assert asked > 10
