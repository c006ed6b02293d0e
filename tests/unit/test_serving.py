"""What the process that serves says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from syncbridge.config import Settings
from syncbridge.serving import settings_of_worker, typed_command


@pytest.mark.parametrize(
    ("started", "on_path", "typed"),
    [
        (".venv/bin/syncbridge", False, ".venv/bin/syncbridge"),
        ("{here}/.venv/bin/syncbridge", False, ".venv/bin/syncbridge"),
        ("/opt/syncbridge/bin/syncbridge", False, "/opt/syncbridge/bin/syncbridge"),
        ("/usr/bin/syncbridge", True, "syncbridge"),
        ("/usr/lib/python3/pytest", False, "syncbridge"),
    ],
)
def test_the_command_told_at_the_start_can_be_typed(
    started: str, on_path: bool, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [started.format(here=tmp_path)])
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/syncbridge" if on_path else None)
    assert typed_command() == typed


def test_each_worker_has_a_name_and_a_port_for_its_figures_of_its_own() -> None:
    shared = Settings(
        workers=3,
        redis_url="redis://127.0.0.1",
        database_url="postgresql+asyncpg://u:p@h/d",
        metrics_port=9464,
        node_name="blue",
    )
    own = [settings_of_worker(shared, index) for index in range(3)]
    assert [one.metrics_port for one in own] == [9464, 9465, 9466]
    assert [one.node_name for one in own] == ["blue-0", "blue-1", "blue-2"]
    assert {one.port for one in own} == {shared.port}
