"""Commands about how long data is kept: what would go, and let it go now."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from syncbridge.cli.failures import Failed
from syncbridge.cli.options import ConfigFile, DataDir, settings

retention = typer.Typer(help="How long data is kept.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.add_typer(retention, name="retention")


@retention.command("show")
def show(
    within: Annotated[int, typer.Option("--within", min=0, help="Sessions that go within so many days too.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show what the next run removes, and which sessions go when; changes nothing, and may run beside a service."""
    from syncbridge.cli.ages import forecast

    found = asyncio.run(forecast(settings(config, data_dir=data_dir), within_days=within))
    if as_json:
        typer.echo(json.dumps({"due": found.due, "sessions": [one._asdict() for one in found.sessions]}, indent=2))
        return
    for kind, count in found.due.items():
        typer.echo(f"{kind:<18} {count:>8}")
    for one in found.sessions:
        when = datetime.fromtimestamp(one.ends_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        typer.echo(f"{one.session}  {one.status:<9}  {when}")


@retention.command("run")
def run(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Remove what is past its time now: in the running service, or in the data directory while none runs."""
    from syncbridge.adapters.embedded.directory import InUse
    from syncbridge.cli.ages import ask_holder, run_here

    in_force = settings(config, data_dir=data_dir)
    try:
        removed = asyncio.run(run_here(in_force))
    except InUse as held:
        if not ask_holder(in_force.data_dir, held.holder):
            raise Failed(
                f"Process {held.holder} holds {in_force.data_dir}, and is not of this machine or this user; "
                "send it SIGUSR1 where it runs."
            ) from held
        typer.echo(f"process {held.holder} does it now; its log and retention_removed_total say what went")
        return
    typer.echo(json.dumps(removed, indent=2))
