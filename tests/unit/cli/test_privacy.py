"""What the command line does with people's data and its time, over a data directory that nobody holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from syncbridge.adapters.embedded.directory import DataDirectory
from syncbridge.cli import privacy
from syncbridge.cli.ages import ask_holder
from tests.unit.cli.test_cli import Run, run

__all__ = ["run"]

CREATE = ("account", "create", "ann@example.com", "--password-stdin")


@pytest.fixture
def ann(run: Run) -> str:
    """An account in the directory; its id."""
    return run(*CREATE, stdin="correct horse\n")[1].strip()


def test_an_export_is_a_file_of_its_owner_s_alone(run: Run, ann: str, tmp_path: Path) -> None:
    output = tmp_path / "ann.json"
    code, out, _ = run("account", "export", "ann@example.com", "-o", str(output))
    assert (code, out) == (0, "")
    document = json.loads(output.read_text())
    assert (document["account"]["id"], document["complete"]) == (ann, True)
    assert output.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("kind", ["a file that others read", "a link to elsewhere"])
def test_an_export_is_not_written_into_what_somebody_put_in_its_way(
    run: Run, ann: str, tmp_path: Path, kind: str
) -> None:
    part, elsewhere = tmp_path / "ann.json.part", tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    if kind == "a link to elsewhere":
        part.symlink_to(elsewhere)
    else:
        part.write_text("")
        part.chmod(0o644)
    code, _, _ = run("account", "export", "ann@example.com", "-o", str(tmp_path / "ann.json"))
    output = tmp_path / "ann.json"
    assert (code, output.is_symlink(), output.stat().st_mode & 0o777) == (0, False, 0o600)
    assert elsewhere.read_text() == "untouched"


def test_an_export_that_fails_leaves_the_file_that_was_there(
    run: Run, ann: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "ann.json"
    output.write_text("before")
    held = DataDirectory(run.folder)
    monkeypatch.setenv("SYNCBRIDGE_PORT", "9")
    code, _, err = run("account", "export", "ann@example.com", "-o", str(output))
    held.close()
    assert (code, output.read_text()) == (1, "before")
    assert "No service answers" in err
    assert f"Process {os.getpid()} serves {run.folder}" in err
    assert "SYNCBRIDGE_PORT" in err
    assert "starts one" not in err
    assert list(tmp_path.glob("*.part")) == []


def test_an_account_is_erased_when_it_is_confirmed_and_its_receipt_is_printed(run: Run, ann: str) -> None:
    code, out, err = run("account", "delete", "ann@example.com", stdin="n\n")
    assert (code, out.strip()) == (1, "")
    assert "cannot be undone" in err
    assert run("token", "ann@example.com")[0] == 0
    code, out, _ = run("account", "delete", "ann@example.com", "--yes")
    receipt = json.loads(out)
    assert (code, receipt["status"], receipt["erased"]["accounts"]) == (0, "erased", 1)
    code, _, err = run("token", "ann@example.com")
    assert (code, "No account" in err) == (1, True)
    assert run(*CREATE, stdin="correct horse\n")[0] == 0


def test_an_erasure_that_the_holder_does_not_finish_stays_asked_for(
    run: Run, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "ERASED_WITHIN_S", 0)
    held = DataDirectory(run.folder)
    code, out, err = run("account", "delete", "ann@example.com", "--yes")
    held.close()
    assert (code, out) == (1, "")
    assert f"process {os.getpid()} has not finished it" in err
    assert json.loads(run("account", "delete", "ann@example.com", "--yes")[1])["status"] == "erased"


def test_what_would_go_is_shown_and_goes_when_it_is_told_to(run: Run, ann: str) -> None:
    code, out, _ = run("retention", "show", "--json")
    assert code == 0
    assert json.loads(out)["due"]["token"] == 0
    code, out, _ = run("retention", "run")
    assert (code, json.loads(out)) == (0, {})
    assert run("retention", "show", "--within", "7")[0] == 0


def test_a_holder_that_cannot_be_told_from_another_process_is_sent_nothing(run: Run) -> None:
    run.folder.mkdir()
    held = DataDirectory(run.folder)
    assert not ask_holder(run.folder, None)
    assert not ask_holder(run.folder, 1)
    (run.folder / "sessions.lock").unlink()
    assert not ask_holder(run.folder, os.getpid())
    held.close()
