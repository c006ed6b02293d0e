"""Commands of whoever runs the service: serve, demo, config, migrate, openapi, version."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from syncbridge import __version__
from syncbridge.cli.failures import Failed
from syncbridge.cli.options import ConfigFile, DataDir, settings


def add_to(app: typer.Typer) -> None:
    """The commands are the app's."""
    app.command()(serve)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
        demo
    )
    app.command(name="config")(show_config)
    app.command()(migrate)
    app.command()(openapi)
    app.command()(version)


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of REST and WebSocket.")] = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on the one port; more than one needs Redis and PostgreSQL.")
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Open a damaged journal once, with the sessions that can be verified."),
    ] = False,
    test_echo: Annotated[
        bool,
        typer.Option("--test-echo", help="Serve /v1/test/echo, for conformance suites. Never in production."),
    ] = False,
) -> None:
    """Run the service until Ctrl-C or SIGTERM; the first start makes its keys and its database."""
    from syncbridge.telemetry import configure_logging

    in_force = settings(config, host=host, port=port, data_dir=data_dir, workers=workers, test_echo=test_echo or None)
    if accept_loss and in_force.redis_url is not None:
        raise Failed("--accept-loss is for a damaged journal in data_dir; with redis_url there is none.")
    configure_logging(in_force.log_level, in_force.log_format)
    from syncbridge.serving import serve as run

    try:
        code = run(in_force, accept_loss=accept_loss)
    except OSError as error:
        raise Failed(f"The service cannot start: {error}") from error
    raise typer.Exit(code)


def demo(context: typer.Context) -> None:
    """Carry a recorded session through three devices, handoffs and a crash; `demo --help` for its options."""
    from syncbridge.demo import main

    raise typer.Exit(main(context.args))


def show_config(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Explain every key: its value, where that came from, and what it is for. Secrets are ***."""
    from syncbridge.config import ConfigError, explain

    try:
        rows = explain(config)
    except ConfigError as error:
        raise Failed(f"The configuration cannot be used:\n{error}") from error
    if as_json:
        found = {row.key: {"value": row.value, "source": row.source, "meaning": row.description} for row in rows}
        typer.echo(json.dumps(found, indent=2))
        return
    widths = [
        max(len(text) for text in column) for column in zip(*((r.key, r.value, r.source) for r in rows), strict=True)
    ]
    for row in rows:
        cells = (row.key.ljust(widths[0]), row.value.ljust(widths[1]), row.source.ljust(widths[2]))
        typer.echo(f"{'  '.join(cells)}  {row.description}".rstrip())


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; end with 1 where this program cannot serve the schema.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring the records' database to the newest schema. Safe to run twice, and beside a running service."""
    from syncbridge.cli.direct import bring_up, schema

    in_force = settings(config, data_dir=data_dir)
    if check:
        found = asyncio.run(schema(in_force))
        sentence = found.sentence(in_force.records_place)
        if not found.is_served:
            raise Failed(sentence)
        typer.echo(sentence)
        return
    found = asyncio.run(bring_up(in_force))
    typer.echo(f"records are at revision {found.revision}")


def openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of standard output.")] = None,
) -> None:
    """Print the OpenAPI 3.1 document of the REST service."""
    from syncbridge.http import bare_app

    text = json.dumps(bare_app().openapi(), indent=2) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, "utf-8")


def version() -> None:
    """Print the version, and whether the compiled core is in use."""
    from syncbridge._ext import IS_COMPILED

    typer.echo(
        f"syncbridge {__version__} ({'compiled' if IS_COMPILED else 'twin'} core, Python {sys.version.split()[0]})"
    )
