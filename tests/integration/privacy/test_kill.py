"""A process that is killed in the middle of an erasure: the next one finishes it, and neither log tells of her."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from tests.integration.privacy.conftest import Person, client_of, files_that_hold
from tests.integration.service.test_process import Process


async def everything(person: Person) -> dict[str, Any]:
    """What is held of the person, but for used codes, which go at the next start, and incidents, written behind."""
    document: dict[str, Any] = (await person.client.http.get("/v1/me/export")).json()
    for session in document["sessions"]:
        del session["pairing_codes"], session["incidents"]
    del document["exported_at"]
    return document


async def test_an_erasure_that_kill_cut_off_is_finished_by_the_next_start(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    process = Process(tmp_path / "data")
    stack.push_async_callback(process.close)
    await process.start()
    ann, bob = (Person(client_of(process.base, stack), name) for name in ("ann", "bob"))
    await ann.live()
    await bob.live()
    kept = await everything(bob)
    asked = asyncio.create_task(ann.client.http.request("DELETE", "/v1/me"))
    # Somewhere between the first row and the last: the request takes some 100 ms.
    await asyncio.wait([asked], timeout=random.Random(3).uniform(0.02, 0.06))
    await process.kill()
    with contextlib.suppress(httpx.HTTPError):
        await asked
    lines = await process.log()
    await process.start()
    receipt = "ers_" + ann.account.partition("_")[2]
    async with asyncio.timeout(30):
        while True:
            answer = await bob.client.http.get(f"/v1/erasures/{receipt}")
            if answer.status_code == 404:
                # It was killed before anything was written: she asks again.
                again = await ann.client.http.request("DELETE", "/v1/me")
                assert again.status_code == 200
            elif answer.json()["finished_at"] is not None:
                break
            await asyncio.sleep(0.05)
    assert (await ann.client.http.get("/v1/me")).status_code == 401
    texts = [*ann.canaries.values(), *ann.sessions]
    assert files_that_hold(process.data_dir, *texts) == {}
    page = (await bob.client.http.get("/metrics")).text
    assert await everything(bob) == kept
    await process.kill()
    lines += await process.log()
    assert [text for text in ann.canaries.values() if text in page or text in lines] == []
    assert [text for text in bob.canaries.values() if text in lines] == []
