"""Commands about the keys that sign access tokens: list, rotate."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from syncbridge.cli.options import ConfigFile, DataDir, settings

if TYPE_CHECKING:
    from syncbridge.auth.keyring import KeyState
    from syncbridge.auth.rotation import Rotated
    from syncbridge.config import Settings
    from syncbridge.ports import SigningKey

keys = typer.Typer(help="Keys that sign access tokens, wherever they are kept.", no_args_is_help=True)

DAY_MS = 86_400_000


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.add_typer(keys, name="keys")


@keys.command("list")
def list_keys(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of columns.")] = False,
) -> None:
    """List the keys, the newest first: what each is, how old, when it signs, when it is retired. Never the secret."""
    from syncbridge.cli.direct import signing_keys

    now_ms, found = asyncio.run(signing_keys(settings(config, data_dir=data_dir)))
    if as_json:
        typer.echo(json.dumps([_row(key, state, now_ms) for key, state in found], indent=2))
        return
    typer.echo(f"{'KID':<18}{'STATE':<10}{'AGE':<8}{'SIGNS FROM':<22}RETIRED AT")
    for key, state in found:
        age = f"{_age_ms(key, now_ms) // DAY_MS} d"
        retired = "-" if key.retired_at is None else _when(key.retired_at)
        typer.echo(f"{key.kid:<18}{state:<10}{age:<8}{_when(key.signs_from or key.created_at):<22}{retired}")


@keys.command("rotate")
def rotate(
    now: Annotated[
        bool, typer.Option("--now", help="Emergency: the old keys are refused at once, for they are in wrong hands.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Put a new key in place of the one that signs; beside a running service, and nobody's token is refused for it."""
    from syncbridge.cli.direct import rotate_keys

    in_force = settings(config, data_dir=data_dir)
    rotated = asyncio.run(rotate_keys(in_force, is_emergency=now))
    for line in _emergency(rotated, in_force) if now else _planned(rotated, in_force):
        typer.echo(line)


def _planned(rotated: Rotated, in_force: Settings) -> list[str]:
    kid, lead_s = rotated.key.kid, in_force.auth.key_lead_ms // 1000
    first = (
        f"Key {kid} is made. It signs from {_when(rotated.key.signs_from)} on, in {lead_s} s: by then every running "
        "service has read it."
        if rotated.is_new
        else f"A rotation is under way already: key {kid} signs from {_when(rotated.key.signs_from)} on."
    )
    return [
        first,
        f"The keys before it are retired at {_when(rotated.retired_at)}, when the last token they signed has ended.",
        "Nobody notices: no valid token is refused. `syncbridge keys list` shows where it stands.",
    ]


def _emergency(rotated: Rotated, in_force: Settings) -> list[str]:
    within_s = in_force.auth.key_refresh_ms // 1000
    return [
        f"Key {rotated.key.kid} signs from now on. Every key before it is retired, and its secret erased.",
        f"Running services refuse those keys' tokens within {within_s} s, and close their connections (4401).",
        "Everyone goes on by their refresh token, without logging in again. If refresh tokens are in wrong hands too,",
        "end the log-ins: `syncbridge account revoke EMAIL`.",
    ]


def _row(key: SigningKey, state: KeyState, now_ms: int) -> dict[str, object]:
    return {
        "kid": key.kid,
        "state": state,
        "age_ms": _age_ms(key, now_ms),
        "created_at": key.created_at,
        "signs_from": key.signs_from or key.created_at,
        "retired_at": key.retired_at,
    }


def _age_ms(key: SigningKey, now_ms: int) -> int:
    return max(0, now_ms - key.born_at)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
