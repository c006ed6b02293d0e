"""The programs of the pages run as they stand: README's client, and the backup of a running service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from syncbridge.app import Service
from syncbridge.config import Settings
from tests.docs import pages
from tests.integration.client.conftest import Account

LINES_MAX = 25


async def run(source: str, *, folder: Path, **environment: str) -> str:
    """What the program prints; it must end with 0 and say nothing else."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        source,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        printed, complaints = await process.communicate()
    assert (process.returncode, complaints.decode()) == (0, "")
    return printed.decode()


def only_program(page: str) -> str:
    (block,) = [block for block in pages.blocks("python") if block.page == page]
    return block.text


def test_every_program_of_the_pages_is_run_by_some_test() -> None:
    # docs/client.md has a test of its own: tests/integration/client/test_docs.py.
    found = {block.page for block in pages.blocks("python")}
    assert found == {"README.md", "docs/client.md", "docs/data.md"}


async def test_the_client_of_the_readme_takes_a_session_and_its_edit_is_durable(
    account: Account, tmp_path: Path
) -> None:
    source = only_program("README.md")
    assert len(source.splitlines()) <= LINES_MAX
    session = await account.make_session(kind="breathing")
    printed = await run(source, folder=tmp_path, URL=account.url, TOKEN=account.token, SESSION=session)
    notes, active, position = printed.split()
    assert (notes, active) == ("calm", "tv")
    assert 0 <= float(position) < 5


async def test_a_backup_of_a_running_service_is_served_with_everything_acknowledged(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data")
    person = {"email": "ann@example.com", "password": "correct horse battery staple"}
    async with Service.running(settings) as service:
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, timeout=30) as http:
            token = (await http.post("/v1/accounts", json=person)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            session = (await http.post("/v1/sessions", json={"type": "custom", "state": {"a": 1}})).json()["id"]
            path = f"/v1/sessions/{session}/state"
            merge = {"Content-Type": "application/merge-patch+json"}
            assert (await http.patch(path, content='{"a": 2}', headers=merge)).status_code == 200
            await run(only_program("docs/data.md"), folder=tmp_path)
            assert (await http.patch(path, content='{"a": 3}', headers=merge)).status_code == 200
    restored = Settings(port=0, data_dir=tmp_path / "backup")
    async with Service.running(restored) as service:
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, timeout=30) as http:
            http.headers["Authorization"] = f"Bearer {token}"
            listed = (await http.get("/v1/sessions")).json()["sessions"]
            assert [one["id"] for one in listed] == [session]
            assert (await http.get(path)).json() == {"a": 2}


async def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await run("raise SystemExit(3)", folder=tmp_path)
