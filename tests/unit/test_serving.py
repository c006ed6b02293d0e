"""What the process that serves says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from syncbridge.serving import typed_command


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
