"""The table of everything that `syncbridge` can be told to do, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import typer.main
from typer.core import TyperArgument, TyperGroup

from syncbridge.cli import app


def table() -> str:
    """A row for each command: what is typed, and the first paragraph of its help."""
    rows = ["| command | what it does |", "| --- | --- |"]
    rows += [f"| `{typed}` | {meaning} |" for typed, meaning in _commands("syncbridge", typer.main.get_group(app))]
    return "\n".join(rows) + "\n"


def _commands(typed: str, group: TyperGroup) -> Iterator[tuple[str, str]]:
    """The group's commands; a group among them where it does something by itself, then those below it."""
    for name, command in group.commands.items():
        line = f"{typed} {name}"
        meaning = " ".join((command.help or "").split("\n\n")[0].split()).replace("|", "/")
        arguments = [one for one in command.params if isinstance(one, TyperArgument)]
        if not isinstance(command, TyperGroup):
            yield line + "".join(f" {_shown(one)}" for one in arguments), meaning
            continue
        if command.invoke_without_command:
            yield line, meaning
        yield from _commands(line, command)


def _shown(argument: TyperArgument) -> str:
    name = str(argument.name).upper()
    return name if argument.required else f"[{name}]"
