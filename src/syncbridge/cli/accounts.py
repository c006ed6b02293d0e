"""Commands about people: make, export and erase an account, its plan, a token, and the end of log-ins."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from syncbridge.cli.failures import Failed
from syncbridge.cli.options import ConfigFile, DataDir, PasswordStdin, Url, password, settings

Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]

account = typer.Typer(help="Accounts.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.add_typer(account, name="account")
    app.command()(token)
    app.command()(revoke)


@account.command("create")
def create(
    email: Email,
    url: Url = None,
    password_stdin: PasswordStdin = False,
    plan: Annotated[str | None, typer.Option(help="Its plan, where that is not the default (without --url).")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make an account, in a running service (--url) or in the data directory; prints its id."""
    if url is not None and plan is not None:
        raise typer.BadParameter("a plan is given by whoever has the data directory: leave --url away")
    secret = password(password_stdin, confirm=True)
    if url is not None:
        from syncbridge.cli.remote import call

        typer.echo(call(url, "POST", "/v1/accounts", body={"email": email, "password": secret})["account"])
        return
    from syncbridge.cli.direct import create_account

    typer.echo(asyncio.run(create_account(settings(config, data_dir=data_dir), email, secret, plan or "")).id)


@account.command("plan")
def show_or_set_plan(
    email: Email,
    plan: Annotated[str | None, typer.Argument(help="The plan it shall have; without it, nothing changes.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print the account's plan, after setting it where one is given; a running service follows within 30 s."""
    from syncbridge.cli.direct import account_plan

    typer.echo(asyncio.run(account_plan(settings(config, data_dir=data_dir), email, plan)))


@account.command("revoke")
def revoke_account(
    email: Email,
    device: Annotated[str | None, typer.Option(help="Remove this device alone, with the tokens bound to it.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """End every log-in of the account, beside a running service: its devices are cut off and must log in again."""
    from syncbridge.cli.direct import revoke_account as run

    asyncio.run(run(settings(config, data_dir=data_dir), email, device))
    what = "Every log-in is ended" if device is None else f"Device {device} is removed"
    typer.echo(f"{what}: refused by a running service within 2 s, and its connections closed (4403).")


@account.command("export")
def export(
    email: Email,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file; it is made for its owner alone.")],
    url: Url = None,
    password_stdin: PasswordStdin = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write everything that is held of a person to a file: by password from a service (--url), else as the operator."""
    from syncbridge.cli.privacy import export_account, export_from

    if url is not None:
        export_from(url, email, password(password_stdin, confirm=False), output)
    else:
        export_account(settings(config, data_dir=data_dir), email, output)


@account.command("delete")
def delete(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    password_stdin: PasswordStdin = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Erase an account everywhere, for ever; prints the receipt. By password with --url, else as the operator."""
    from syncbridge.cli.privacy import delete_account, delete_from

    if not yes:
        typer.confirm(f"Erase {email} and everything of theirs? It cannot be undone.", abort=True, err=True)
    if url is not None:
        receipt = delete_from(url, email, password(password_stdin, confirm=False))
    else:
        receipt = delete_account(settings(config, data_dir=data_dir), email)
    typer.echo(json.dumps(receipt, indent=2))


def token(
    email: Email,
    url: Url = None,
    password_stdin: PasswordStdin = False,
    device: Annotated[str | None, typer.Option(help="Bind it to this device (with --url).")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print an access token: by password from a running service (--url), else straight from the data directory."""
    if url is not None:
        from syncbridge.cli.remote import call

        body = {"grant_type": "password", "email": email, "password": password(password_stdin, confirm=False)}
        if device is not None:
            body["device"] = device
        typer.echo(call(url, "POST", "/v1/auth/token", body=body)["access_token"])
        return
    from syncbridge.cli.direct import access_token

    typer.echo(asyncio.run(access_token(settings(config, data_dir=data_dir), email)))


def revoke(url: Url = None, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Refuse the token read from standard input from now on; a refresh token with its whole log-in."""
    secret = typer.get_text_stream("stdin").readline().strip()
    if url is not None:
        from syncbridge.cli.remote import call

        call(url, "POST", "/v1/auth/revoke", body={"token": secret})
        return
    from syncbridge.cli.direct import revoke_token

    if not asyncio.run(revoke_token(settings(config, data_dir=data_dir), secret)):
        raise Failed("No token that is taken was read from standard input: it is expired, revoked or another's.")
