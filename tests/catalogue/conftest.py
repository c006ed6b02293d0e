"""One service for the whole catalogue, with an honest client in it all along."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.catalogue.service import ProbeProcess, ServiceProcess
from tests.catalogue.stage import Stage, log_in, many

MALLORYS = ("tablet", "tv", "watch", "laptop", "car")


def begin(service: ServiceProcess) -> tuple[Stage, ProbeProcess]:
    """Two accounts, what each has, and the honest client of Olga's; warmed up, so that growth is a case's own."""
    olga = service.make_account("olga", ("olgas-phone", "probe"), 3)
    mallory = service.make_account("mallory", MALLORYS, 2)
    with service.http(mallory.token) as http:
        assert http.delete(f"/v1/sessions/{mallory.sessions[1]}").status_code == 204
    stage = Stage(service, olga, mallory, deleted_session=mallory.sessions[1], olgas_http=service.http(olga.token))
    probe = ProbeProcess(service.port, olga.token, olga.sessions[-1])
    asyncio.run(_warm_up(stage))
    probe.took_ms(50)
    return stage, probe


async def _warm_up(stage: Stage) -> None:
    """What the first of a kind allocates for good is allocated."""
    await many(40, lambda number: log_in(stage, f"warm-{number}@example.com"))
    for _ in range(20):
        session = await stage.session()
        async with await stage.device(session):
            pass


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, ProbeProcess]]:
    """The service, who is in it, and the probe."""
    yield from running(tmp_path_factory.mktemp("catalogue"))


def running(
    folder: Path, *plants: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[Stage, ProbeProcess]]:
    """A service with these plants in it, until it is left."""
    service = ServiceProcess(folder, *plants, environment=environment)
    with ExitStack() as stack:
        stack.callback(service.stop)
        stage, probe = begin(service)
        stack.callback(probe.stop)
        stack.enter_context(stage.olgas_http)
        yield stage, probe
