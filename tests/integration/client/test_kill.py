"""``kill -9`` of a device's process: what `set` returned for is neither lost nor doubled."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.integration.client import editor
from tests.integration.client.conftest import Account


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("edits", [1, 40])
async def test_every_edit_that_set_returned_for_reaches_the_log_once(
    account: Account, tmp_path: Path, mode: str, edits: int
) -> None:
    name, cache = await account.make_session({"made": {}}), tmp_path / "cache.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        editor.__file__,
        account.url,
        account.token,
        name,
        str(cache),
        mode,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    saved = -1
    async with asyncio.timeout(30):
        while saved + 1 < edits:
            line = await process.stdout.readline()
            assert line, "the editor ended by itself"
            saved = int(line)
        process.kill()
        rest = (await process.stdout.read()).split()
        await process.wait()
    saved = max([saved, *(int(number) for number in rest)])
    session = await (await account.bridge("phone", cache=cache)).join(name)
    await session.drained()
    await session.joined()
    made = session.replica.confirmed["made"]
    # One more may have been saved, or even applied, whose `set` had not returned.
    assert len(made) - (saved + 1) in (0, 1)
    assert made == {f"e{number}": number for number in range(len(made))}
    assert session.position is not None
    assert session.position.version == 1 + len(made)
