"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import jwt
import pytest

from syncbridge import __version__
from syncbridge.cli import main
from syncbridge.http import bare_app

CHEAP = {"SYNCBRIDGE_AUTH__ARGON2_TIME_COST": "1", "SYNCBRIDGE_AUTH__ARGON2_MEMORY_KIB": "8"}


class Run:
    """Runs the command in this process; the environment is the test's own."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], folder: Path) -> None:
        self._patch = patch
        self._capture = capture
        self.folder = folder
        for name in ("SYNCBRIDGE_URL", "SYNCBRIDGE_TOKEN", "SYNCBRIDGE_CONFIG"):
            patch.delenv(name, raising=False)
        for name, value in {**CHEAP, "SYNCBRIDGE_DATA_DIR": str(folder)}.items():
            patch.setenv(name, value)

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        self._patch.setattr(sys, "argv", ["syncbridge", *words])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capture.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A runner of the command over an empty data directory."""
    return Run(monkeypatch, capsys, tmp_path / "data")


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    commands = (
        "serve",
        "demo",
        "account",
        "token",
        "revoke",
        "keys",
        "sessions",
        "doctor",
        "config",
        "migrate",
        "openapi",
        "version",
    )
    assert [command for command in commands if command not in out] == []


def test_version_is_the_package_s(run: Run) -> None:
    assert run("--version")[:2] == (0, f"{__version__}\n")
    assert run("version")[1].startswith(f"syncbridge {__version__} (")


def test_openapi_is_the_service_s_document(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("openapi")[1]) == bare_app().openapi()
    assert run("openapi", "-o", str(tmp_path / "api.json"))[:2] == (0, "")
    assert json.loads((tmp_path / "api.json").read_text()) == bare_app().openapi()


def test_migrate_may_be_run_twice(run: Run) -> None:
    assert [run("migrate")[:2] for _ in range(2)] == [(0, "records are at revision 0003\n")] * 2
    assert (run.folder / "records.db").exists()


def test_config_shows_values_sources_and_reasons(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCBRIDGE_PLANS__FREE__DEVICES_MAX", "3")
    monkeypatch.setenv("SYNCBRIDGE_DATABASE_URL", "postgresql+asyncpg://u:canary@h/n")
    code, out, _ = run("config")
    assert code == 0
    assert any(
        line.split()[:2] == ["plans.free.devices_max", "3"] and "environment" in line for line in out.splitlines()
    )
    assert "canary" not in out
    assert json.loads(run("config", "--json")[1])["plans.free.devices_max"]["value"] == "3"


def test_unknown_key_ends_with_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCBRIDGE_PROT", "1")
    for words in (["config"], ["migrate"], ["serve"]):
        code, out, err = run(*words)
        assert (code, out) == (1, "")
        assert "SYNCBRIDGE_PROT: no such key" in err


def test_a_bad_option_is_named_as_it_was_typed(run: Run) -> None:
    code, out, err = run("serve", "--port", "70000")
    assert (code, out) == (1, "")
    assert "port (--port): " in err


def test_account_and_token_come_straight_from_the_data_directory(run: Run) -> None:
    code, account, _ = run("account", "create", "ann@example.com", "--password-stdin", stdin="correct horse\n")
    assert code == 0
    code, token, _ = run("token", "Ann@Example.com")
    assert code == 0
    claims = jwt.decode(token.strip(), options={"verify_signature": False})
    assert claims["sub"] == account.strip()


def test_plan_of_an_account_is_shown_and_set(run: Run) -> None:
    words = ("account", "create", "ann@example.com", "--password-stdin", "--plan", "free")
    assert run(*words, stdin="correct horse\n")[0] == 0
    assert run("account", "plan", "Ann@Example.com")[:2] == (0, "free\n")
    assert run("account", "plan", "ann@example.com", "standard")[:2] == (0, "standard\n")
    assert run("account", "plan", "ann@example.com")[:2] == (0, "standard\n")


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["account", "create", "ann@example.com", "--password-stdin"], "short\n", "validation_failed: password"),
        (["account", "create", "nonsense", "--password-stdin"], "correct horse\n", "validation_failed: email"),
        (["account", "create", "a@b.c", "--password-stdin", "--plan", "gold"], "correct horse\n", "free, standard"),
        (["account", "plan", "nobody@example.com"], "", "or another data directory"),
        (["token", "nobody@example.com"], "", "No account nobody@example.com"),
        (["openapi", "--output", "/nowhere/api.json"], "", "/nowhere/api.json: No such file or directory"),
        (["migrate", "--data-dir", __file__], "", f"{__file__}: File exists"),
        (["account", "create", "a@b.c", "--password-stdin", "--data-dir", __file__], "correct horse\n", "File exists"),
        (["sessions", "list"], "", "A token is needed"),
        (["sessions", "list", "--token", "x", "--url", "http://127.0.0.1:9"], "", "No service answers"),
        (["sessions", "list", "--token", "x\ny", "--url", "http://127.0.0.1:9"], "", "characters that no token has"),
        (["sessions", "list", "--token", "x\n", "--url", "http://127.0.0.1:9"], "", "No service answers"),
        (
            ["sessions", "list", "--token", "x", "--url", "http://127.0.0.1:nine"],
            "",
            "is not SyncBridge: nonnumeric port",
        ),
        (["sessions", "list", "--token", "x", "--url", "file:///etc/passwd"], "", "expected an address"),
        (["sessions", "tail", "s", "--token", "x", "--url", "http://127.0.0.1:9"], "", "No service answers"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run: Run, words: list[str], stdin: str, said: str) -> None:
    code, out, err = run(*words, stdin=stdin)
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_damaged_records_are_named_with_what_is_wrong(run: Run) -> None:
    run.folder.mkdir()
    (run.folder / "records.db").write_text("no database, for once")
    code, out, err = run("token", "ann@example.com")
    assert (code, out) == (1, "")
    assert f"The records at {run.folder / 'records.db'} cannot be opened: file is not a database" in err


def test_records_out_of_reach_are_named_without_their_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCBRIDGE_DATABASE_URL", "postgresql+asyncpg://u:canary@127.0.0.1:9/n")
    code, out, err = run("migrate")
    assert (code, out) == (1, "")
    assert "127.0.0.1:9/n cannot be opened: " in err
    assert err.endswith(" - start it, or correct host and port in database_url\n")
    assert "canary" not in err


def test_second_account_of_an_address_is_refused(run: Run) -> None:
    words = ("account", "create", "ann@example.com", "--password-stdin")
    assert run(*words, stdin="correct horse\n")[0] == 0
    code, _, err = run(*words, stdin="correct horse\n")
    assert (code, err.split(":")[0]) == (1, "account_exists")
