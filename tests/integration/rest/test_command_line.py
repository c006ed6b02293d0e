"""The command line against a running service."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import httpx

from tests.integration.rest.conftest import PASSWORD


async def run(*words: str, stdin: str = "", token: str = "") -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the command in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNCBRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "syncbridge",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | ({"SYNCBRIDGE_TOKEN": token} if token else {}),
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_account_is_made_and_its_token_and_sessions_are_printed(base: str) -> None:
    code, account, err = await run(
        "account", "create", "bob@example.com", "--password-stdin", "--url", base, stdin=f"{PASSWORD}\n"
    )
    assert (code, err) == (0, "")
    code, printed, _ = await run("token", "bob@example.com", "--password-stdin", "--url", base, stdin=f"{PASSWORD}\n")
    token = printed.strip()
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as bob:
        assert (await bob.get("/v1/me")).json()["id"] == account.strip()
        made = await bob.post("/v1/sessions", json={"type": "custom", "title": "a\u001b[31mb", "state": {"n": 1}})
        session = made.json()["id"]
    code, listed, _ = await run("sessions", "list", "--url", base, token=token)
    assert (code, listed.split()[:2]) == (0, [session, "active"])
    assert "\x1b" not in listed
    code, shown, _ = await run("sessions", "show", session, "--url", base, token=token)
    assert (code, json.loads(shown)["state"]) == (0, {"n": 1})
    code, out, err = await run("sessions", "show", "none", "--url", base, token=token)
    assert (code, out, err.split(":")[0]) == (1, "", "not_found")
    code, _, err = await run("token", "bob@example.com", "--password-stdin", "--url", base, stdin="wrong\n")
    assert (code, err.split(":")[0]) == (1, "bad_credentials")


async def test_tail_says_the_state_of_now_and_then_each_entry(base: str, ann: httpx.AsyncClient) -> None:
    session = (await ann.post("/v1/sessions", json={"type": "custom", "state": {"n": 1}})).json()["id"]
    token = ann.headers["authorization"].removeprefix("Bearer ")
    following = asyncio.create_task(run("sessions", "tail", session, "--url", base, "-n", "2", token=token))
    async with asyncio.timeout(60):
        while len((await ann.get("/v1/devices")).json()["devices"]) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    number = 1
    while not following.done():
        number += 1
        body = json.dumps({"n": number})
        await ann.patch(
            f"/v1/sessions/{session}/state", content=body, headers={"Content-Type": "application/merge-patch+json"}
        )
        await asyncio.wait([following], timeout=0.1)
    code, out, err = await following
    assert (code, err) == (0, "")
    joined, entry = [json.loads(line) for line in out.splitlines()]
    assert (joined["type"], joined["mode"]) == ("joined", "snapshot")
    assert entry["type"] in ("entry", "entries")


async def test_tail_of_what_is_not_there_ends_with_its_code(base: str, ann: httpx.AsyncClient) -> None:
    token = ann.headers["authorization"].removeprefix("Bearer ")
    code, out, err = await run("sessions", "tail", "none", "--url", base, token=token)
    assert (code, out, err.split(":")[0]) == (1, "", "not_found")
