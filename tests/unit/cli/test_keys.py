"""Keys and revocation from the command line, straight in the data directory."""

from __future__ import annotations

import json
import sqlite3

from tests.unit.cli.test_cli import Run, run

__all__ = ["run"]
PASSWORD = "correct horse"


def states(run: Run) -> list[str]:
    return [row["state"] for row in json.loads(run("keys", "list", "--json")[1])]


def secrets(run: Run) -> list[bytes]:
    with sqlite3.connect(run.folder / "records.db") as database:
        return [row[0] for row in database.execute("SELECT secret FROM signing_keys ORDER BY ordinal")]


def test_keys_are_listed_and_rotated_and_no_secret_is_ever_shown(run: Run) -> None:
    run("account", "create", "ann@example.com", "--password-stdin", stdin=f"{PASSWORD}\n")
    code, listed, _ = run("keys", "list")
    assert (code, [line.split()[1] for line in listed.splitlines()]) == (0, ["STATE", "current"])
    code, rotated, _ = run("keys", "rotate")
    assert code == 0
    assert "signs from" in rotated
    assert "no valid token is refused" in rotated
    assert states(run) == ["next", "current"]
    code, again, _ = run("keys", "rotate")
    assert (code, again.split(":")[0]) == (0, "A rotation is under way already")
    assert states(run) == ["next", "current"]
    held = secrets(run)
    code, emergency, _ = run("keys", "rotate", "--now")
    assert code == 0
    assert "by their refresh token" in emergency
    assert states(run) == ["current", "retired", "retired"]
    assert secrets(run)[:2] == [b"", b""]
    shown = "".join((listed, rotated, again, emergency, run("keys", "list", "--json")[1]))
    made = {*held, secrets(run)[2]}
    assert len(made) == 3
    assert not any(secret.hex() in shown or repr(secret) in shown for secret in made)


def test_account_and_token_are_revoked(run: Run) -> None:
    run("account", "create", "ann@example.com", "--password-stdin", stdin=f"{PASSWORD}\n")
    token = run("token", "ann@example.com")[1]
    assert run("revoke", stdin=token)[:2] == (0, "")
    code, _, err = run("revoke", stdin=token)
    assert (code, err.split(" ")[0]) == (1, "No")
    later = run("token", "ann@example.com")[1]
    code, out, _ = run("account", "revoke", "Ann@example.com")
    assert (code, out.split(":")[0]) == (0, "Every log-in is ended")
    assert run("revoke", stdin=later)[0] == 1
    assert run("account", "revoke", "bob@example.com")[0] == 1
    code, _, err = run("account", "revoke", "ann@example.com", "--device", "tv")
    assert (code, err.split(":")[0]) == (1, "device_unknown")
