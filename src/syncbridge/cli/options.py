"""Options that several commands share, and the settings that they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncbridge.cli.failures import Failed

if TYPE_CHECKING:
    from syncbridge.config import Settings

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file; else SYNCBRIDGE_CONFIG.", dir_okay=False, exists=True)
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the embedded storage keeps its files.")]
Url = Annotated[str | None, typer.Option("--url", envvar="SYNCBRIDGE_URL", help="A running service.")]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="SYNCBRIDGE_TOKEN", help="An access token; `syncbridge token` prints one."),
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def settings(config: Path | None, **overrides: object) -> Settings:
    """The settings in force, with what the command line says above all. Raises Failed."""
    from syncbridge.config import PREFIX, ConfigError, load

    said = {f"{PREFIX}{key.upper()}": str(value) for key, value in overrides.items() if value is not None}
    try:
        return load(config, {**os.environ, **said})
    except ConfigError as error:
        findings = str(error)
        for key, value in overrides.items():
            if value is not None:
                findings = findings.replace(f"({PREFIX}{key.upper()})", f"(--{key.replace('_', '-')})")
        raise Failed(f"The configuration cannot be used:\n{findings}") from error


def password(from_stdin: bool, *, confirm: bool) -> str:
    """The password, typed unseen or read from standard input. Never an argument: those are seen by every process."""
    if from_stdin:
        return typer.get_text_stream("stdin").readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))


def bearer(token: str | None) -> str:
    """The token as it is sent. Raises Failed where there is none."""
    if not token:
        raise Failed("A token is needed: --token or SYNCBRIDGE_TOKEN; `syncbridge token EMAIL` prints one.")
    sent = token.strip()  # a token out of a file ends in a newline
    if not sent.isprintable():
        raise Failed("--token or SYNCBRIDGE_TOKEN holds characters that no token has.")
    return sent
