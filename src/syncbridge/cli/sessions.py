"""Commands about sessions: list, show, tail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from syncbridge.cli.options import ConfigFile, Token, Url, bearer, settings

sessions = typer.Typer(help="Sessions of the account behind the token.", no_args_is_help=True)

Session = Annotated[str, typer.Argument(help="The session's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of columns.")]


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.add_typer(sessions, name="sessions")


@sessions.command("list")
def list_sessions(
    url: Url = None,
    token: Token = None,
    status: Annotated[str | None, typer.Option(help="active, paused, completed or archived")] = None,
    type: Annotated[str | None, typer.Option(help="breathing, meditation, ...")] = None,  # noqa: A002 - the option's name
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """List the account's sessions, newest first."""
    base, bearer = _service(url, token, config)
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 100, "status": status, "type": type, "cursor": cursor}
        page = _get(base, bearer, "/v1/sessions?" + urlencode({k: v for k, v in query.items() if v is not None}))
        found += page["sessions"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found:
        active = one["active"] or "-"
        typer.echo(
            f"{one['id']}  {one['status']:<9}  {one['type']:<12}  v{one['version']:<6}  {_when(one['updated_at'])}  "
            f"{active:<16}  {_plain(one['title'])}"
        )


@sessions.command("show")
def show_session(session: Session, url: Url = None, token: Token = None, config: ConfigFile = None) -> None:
    """Show a session and its state, as JSON."""
    base, bearer = _service(url, token, config)
    path = f"/v1/sessions/{quote(session, safe='')}"
    found = _get(base, bearer, path)
    found["state"] = _get(base, bearer, f"{path}/state")
    typer.echo(json.dumps(found, indent=2))


@sessions.command("tail")
def tail_session(
    session: Session,
    url: Url = None,
    token: Token = None,
    device: Annotated[str, typer.Option(help="Follow as this device of the account; it takes one place.")] = "cli",
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.")] = None,
    config: ConfigFile = None,
) -> None:
    """Follow a session live: one JSON message a line, from its state of now on, until Ctrl-C."""
    from syncbridge.cli.tail import follow

    base, bearer = _service(url, token, config)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follow(base, bearer, session, device=device, count=count, say=typer.echo))


def _service(url: str | None, token: str | None, config: Any) -> tuple[str, str]:
    sent = bearer(token)
    return (url or settings(config).base_url), sent


def _get(url: str, token: str, path: str) -> Any:
    from syncbridge.cli.remote import call

    return call(url, "GET", path, token=token)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    """The text without control characters: a title must not move the terminal's cursor."""
    return "".join(one if one.isprintable() else "?" for one in text)
