"""The operator's commands beside a running service: the service does the work."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from tests.integration.privacy.conftest import client_of, files_that_hold
from tests.integration.rest.test_command_line import run
from tests.integration.service.conftest import DEADLINE_S, PASSWORD
from tests.integration.service.test_process import Process


async def test_a_running_service_exports_erases_and_keeps_time_for_the_operator(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    process = Process(tmp_path / "data")
    stack.push_async_callback(process.close)
    await process.start()
    ann, bob = client_of(process.base, stack), client_of(process.base, stack)
    await ann.make_account("ann@example.com")
    await bob.make_account("bob@example.com")
    session = await ann.make_session({"n": "canary-state"})
    here = ("--data-dir", str(process.data_dir))

    output = tmp_path / "bob.json"
    code, _, err = await run(
        "account", "export", "bob@example.com", "-o", str(output), "--password-stdin", "--url", process.base,
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert json.loads(output.read_text())["account"]["email"] == "bob@example.com"

    code, out, err = await run("retention", "show", "--within", "8", *here)
    assert (code, session in out) == (0, True), err
    before = (await ann.http.get("/metrics")).text
    code, out, err = await run("retention", "run", *here)
    assert (code, "does it now" in out) == (0, True), err
    runs = "retention_run_seconds_count "
    count = float(before.partition(f"\n{runs}")[2].split()[0])
    async with asyncio.timeout(DEADLINE_S):
        while float((await ann.http.get("/metrics")).text.partition(f"\n{runs}")[2].split()[0]) <= count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    code, out, err = await run("account", "delete", "ann@example.com", "--yes", *here)
    assert (code, json.loads(out)["erased"]["sessions"]) == (0, 1), err
    assert (await ann.http.get("/v1/me")).status_code == 401
    assert files_that_hold(process.data_dir, "canary-state", session, "ann@example.com") == {}
    assert (await bob.http.get("/v1/me")).status_code == 200
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
