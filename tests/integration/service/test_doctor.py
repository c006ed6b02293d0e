"""The doctor beside a real service and after its death: it reads what is there, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import SessionId
from syncbridge.doctor import examine, read_story
from syncbridge.limits import Plan
from syncbridge.story import Story, judge
from tests.integration.service.conftest import DEADLINE_S, Client
from tests.integration.service.test_process import Process


async def doctor(data_dir: Path | None, *words: str) -> tuple[int, Any]:
    """(exit code, what it prints as JSON) of `syncbridge doctor` in a process of its own."""
    place = () if data_dir is None else ("--data-dir", str(data_dir))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "syncbridge", "doctor", *words, "--json", *place),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("SYNCBRIDGE_")},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert err == b""
    return process.returncode or 0, json.loads(out)


async def joined(data_dir: Path, session: str, count: int) -> Story:
    """The session's story, once so many joins are in it: they are written a moment later."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            story = await read_story(Settings(data_dir=data_dir), SessionId(session))
            if [one.kind for one in story.incidents].count("joined") >= count:
                return story
            await asyncio.sleep(0.02)


async def test_a_stale_device_s_lost_progress_is_told_beside_the_running_service(service: Service, ann: Client) -> None:
    session = await ann.make_session({"playhead": {"position": 600, "rate": 1, "at": 0}})
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    await phone.say(type="handoff.take", session=session)
    await phone.hear("handoff.done")
    await tv.say(type="handoff.take", session=session)
    taken = await tv.hear("handoff.done", matching=lambda one: one["active"] == "tv")
    await phone.hear("handoff.done", matching=lambda one: one["active"] == "tv")
    secret = [{"op": "replace", "path": "/playhead", "value": {"position": 777.125, "rate": 1, "at": 1}}]
    await phone.say(
        type="push", session=session, seq=1, base=taken["version"], ops=secret, intent="progress", settled=0
    )
    assert (await phone.hear("reject"))["code"] == "stale_owner"
    await service.records.incidents.flush()
    _, told = await doctor(service.settings.data_dir, "session", session)
    assert told["verdict"]["is_lost"] is True
    assert "Device phone's progress from" in told["verdict"]["sentence"]
    assert "device tv had taken over at" in told["verdict"]["sentence"]
    assert told["verdict"]["causes"][0]["version"] == taken["version"]
    assert "777.125" not in json.dumps(told)
    assert ann.token not in json.dumps(told)
    _, asked = await doctor(None, "session", session, "--url", ann.base, "--token", ann.token)
    assert asked == told  # the owner, over REST, is told the same


async def test_an_examination_disturbs_no_running_service(service: Service, ann: Client) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    looking = asyncio.create_task(doctor(service.settings.data_dir, "--url", ann.base))
    version, pushed = 1, 0
    while not looking.done() and pushed < Plan().push_burst:
        await phone.push(session, version, "/n", pushed)
        version, pushed = (await phone.hear("ack"))["version"], pushed + 1
    _, findings = await looking
    assert pushed > 0
    bad = {(finding["check"], finding["found"]) for finding in findings if finding["severity"] == "problem"}
    assert {finding for finding in bad if finding[0] != "machine"} == set()
    found = [finding["found"] for finding in findings]
    assert f"process {os.getpid()} serves it" in " ".join(found)
    assert any(text.startswith("healthy, version") for text in found)
    assert (await ann.http.get("/health/ready")).status_code == 200


async def test_a_session_that_is_not_there_is_said_in_a_sentence(service: Service, ann: Client) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "syncbridge", "doctor", "session", "none", "--data-dir", str(service.settings.data_dir)),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().startswith("There is no ")
    assert "Traceback" not in err.decode()


async def test_after_a_crash_it_tells_that_nothing_acknowledged_is_lost(tmp_path: Path, stack: AsyncExitStack) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data")
    process = Process(settings.data_dir)
    await process.start()
    client = Client(process.base, stack)
    stack.push_async_callback(client.http.aclose)
    await client.make_account()
    session = await client.make_session()
    phone = await client.device("phone", session)
    await client.device("tv", session)
    await phone.push(session, 1, "/n", 7)
    acknowledged = (await phone.hear("ack"))["version"]
    await joined(settings.data_dir, session, 2)
    await process.kill()
    assert [finding for finding in await examine(settings) if finding.severity == "problem"] == []
    service = await stack.enter_async_context(Service.running(settings))
    again = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(again.http.aclose)
    again.token = client.token
    for name in ("phone", "tv"):
        await again.device(name, session)
    story = await joined(settings.data_dir, session, 4)
    found = judge(story)
    assert not found.is_lost
    assert "the service broke off without a word" in found.sentence
    assert acknowledged in [entry.version for entry in story.entries]
