"""Commands that find out what is wrong: doctor, doctor session."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Annotated, Any

import typer

from syncbridge.cli.failures import Failed
from syncbridge.cli.options import ConfigFile, DataDir, Token, Url, bearer, settings

doctor = typer.Typer(invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.add_typer(doctor, name="doctor")


@doctor.callback()
def examine(
    context: typer.Context,
    url: Url = None,
    issuers: Annotated[bool, typer.Option("--issuers", help="Fetch the outside issuers' keys too.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Find out what is wrong with this installation. Ends with 0 when all is well, 1 with warnings, 2 with problems.

    It reads alone, beside a running service or without one; --url asks a running service too, --issuers those whose
    tokens are taken.
    """
    if context.invoked_subcommand is not None:
        return
    from syncbridge.config import ConfigError
    from syncbridge.doctor import configuration, exit_code, pages
    from syncbridge.doctor import examine as look

    try:
        findings = asyncio.run(look(settings(config, data_dir=data_dir), url, asks_issuers=issuers))
    except Failed as failed:
        if not isinstance(failed.__cause__, ConfigError):
            raise
        findings = list(configuration.refused(failed.__cause__))
    typer.echo(json.dumps(pages.findings_json(findings), indent=2) if as_json else pages.findings_page(findings))
    raise typer.Exit(exit_code(findings))


@doctor.command("session")
def session(
    session: Annotated[str, typer.Argument(help="The session's id.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Tell why progress of a session was lost, or that nothing was: a verdict, its causes, and one timeline.

    Read straight from the data directory; a running service does not notice. With --url and the owner's token it is
    asked of a service, which judges the newest entries.
    """
    from syncbridge.core.ids import SessionId
    from syncbridge.doctor import NoStory, pages, read_story, told_report
    from syncbridge.story import report

    try:
        if url is not None and data_dir is None:
            told = told_report(session, partial(_get, url, bearer(token)))
        else:
            told = report(asyncio.run(read_story(settings(config, data_dir=data_dir), SessionId(session))))
    except NoStory as absence:
        raise Failed(str(absence)) from absence
    typer.echo(json.dumps(pages.story_json(told), indent=2) if as_json else pages.story_page(told))


def _get(url: str, token: str, path: str) -> Any:
    from syncbridge.cli.remote import call

    return call(url, "GET", path, token=token)
