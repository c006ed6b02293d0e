"""What the process that serves says of itself."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncbridge.config import Settings
from syncbridge.serving import settings_of_worker, settle_memory, typed_command


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


@pytest.fixture
def looked_at() -> Iterator[list[int]]:
    """How many objects each look for garbage was about; what the test sets is undone after it."""
    counts: list[int] = []
    thresholds = gc.get_threshold()

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            counts.append(sum(len(gc.get_objects(number)) for number in range(info["generation"] + 1)))

    gc.callbacks.append(count)
    yield counts
    gc.callbacks.remove(count)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_no_look_for_garbage_takes_long_however_much_is_kept(looked_at: list[int]) -> None:
    settle_memory()
    looked_at.clear()
    kept: list[list[None]] = [[] for _ in range(100_000)]
    assert len(looked_at) > len(kept) // 4_000, "hardly anybody looked"
    assert max(looked_at) < 5_000
