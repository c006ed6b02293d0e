"""The command line: ``syncbridge COMMAND``. Thin: each command reads its words and calls what does the work.

Ends with 0 when it did what it says, 1 when that was refused or failed, 2 for wrong words (`doctor` alone ends with
what it found). Results go to standard
output, everything else to standard error. Heavy imports wait until their command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from syncbridge import __version__
from syncbridge.cli import accounts, doctor, keys, operating, retention, sessions
from syncbridge.errors import SyncBridgeError

app = typer.Typer(
    name="syncbridge",
    help="Sessions that go on from device to device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
operating.add_to(app)
accounts.add_to(app)
keys.add_to(app)
sessions.add_to(app)
retention.add_to(app)
doctor.add_to(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Sessions that go on from device to device."""


def main() -> None:
    """The entry point of the ``syncbridge`` script."""
    from syncbridge.cli.failures import Failed

    try:
        app()
    except SyncBridgeError as error:
        typer.echo(f"{error.code}: {error.message}", err=True)
        sys.exit(1)
    except Failed as failed:
        typer.echo(str(failed), err=True)
        sys.exit(1)
    except OSError as error:
        named = "" if error.filename is None else f"{error.filename}: "
        typer.echo(f"{named}{error.strerror or error}", err=True)
        sys.exit(1)
