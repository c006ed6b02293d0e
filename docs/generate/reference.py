"""Writes what of the documents the code can tell: ``python -m docs.generate.reference``; ``--check`` only looks.

Whole files    docs/asyncapi.json, docs/schemas/*/*.json
Parts          what stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->`` in docs/*.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docs.generate import asyncapi, capacity, cloudevents, commands, events, schemas
from syncbridge import bounds, config, errors
from syncbridge.core.session_types import SESSION_TYPES, Range, SessionType
from syncbridge.telemetry import metrics
from syncbridge.wire.close import REASONS
from tests.catalogue import table as bad_input

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "clients/vectors/messages"
STRUCTURES = (
    "DeviceInfo",
    "Position",
    "Entry",
    "HandoffNote",
    "Undoing",
    "DevicePresence",
    "WaitingOffer",
    "WelcomeLimits",
)
SETTINGS = {
    "": "The service itself",
    "plans": "Plans of accounts",
    "limits": "Of sessions, devices and requests",
    "retention": "How long things are kept",
    "net": "Of connections",
    "auth": "Tokens and log-ins",
    "vault": "Vault",
}
"""What the docs call the tables of the configuration; "" is for the keys that are in none."""
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


# -- parts ------------------------------------------------------------------------------------------------------


def message_pages(side: schemas.Side) -> str:
    """A heading, what it is, its fields and an example for every message of one direction."""
    examples = {one["type"]: one for one in json.loads((EXAMPLES / f"{side}.json").read_text("utf-8"))["messages"]}
    pages = []
    for message in schemas.all_messages():
        if message.side == side:
            schema = schemas.schema_of(message)
            example = _example(examples[message.tag])
            pages.append(f"#### `{message.tag}`\n\n{schema['description']}\n\n{_fields(schema)}\n{example}")
    return "\n".join(pages)


def structures() -> str:
    """The fields of what stands inside messages."""
    pages = []
    for name in STRUCTURES:
        schema = _find_definition(name)
        pages.append(f"#### {name}\n\n{schema['description']}\n\n{_fields(schema)}")
    return "\n".join(pages)


def policies() -> str:
    """The merge policy of every path of the session types that ship, and the ranges of their numbers."""
    rows = ["| type | path | policy |", "| --- | --- | --- |"]
    shared = set.intersection(*({*map(str, kind.schema.items())} for kind in SESSION_TYPES.values()))
    rows += [
        f"| every type | `{path}` | {_policy(rule)} |"
        for path, rule in SESSION_TYPES["custom"].schema.items()
        if str((path, rule)) in shared
    ]
    for kind in SESSION_TYPES.values():
        own = {path: rule for path, rule in kind.schema.items() if str((path, rule)) not in shared}
        rows += [f"| {kind.name} | `{path}` | {_policy(rule)} |" for path, rule in own.items()]
        rows += [f"| {kind.name} | `{one.pointer}` | from {one.least:g} to {one.most:g} |" for one in _bounds(kind)]
    return "\n".join(rows) + "\n"


def close_codes() -> str:
    """Every close code, its sentence, and the errors that close with it."""
    rows = ["| code | reason on the wire | sent with `error` |", "| --- | --- | --- |"]
    for code, sentence in REASONS.items():
        with_it = [f"`{leaf.code}`" for leaf in errors.leaves() if leaf.close_code == code]
        rows.append(f"| {int(code)} | {sentence} | {', '.join(with_it) or '-'} |")
    return "\n".join(rows) + "\n"


def settings() -> str:
    """Every key of the configuration, with a heading for each of its tables."""
    groups: dict[str, list[str]] = {}
    for row in config.explain(None, {}):
        variable = config.PREFIX + row.key.replace(".", "__").upper()
        cells = (f"`{row.key}`", f"`{variable}`", _code(row.value), row.description.replace("|", "/") or "-")
        table = row.key.partition(".")[0] if "." in row.key else ""
        groups.setdefault(table, []).append(f"| {' | '.join(cells)} |\n")
    head = "| key | variable | default | meaning |\n| --- | --- | --- | --- |\n"
    return "\n".join(f"### {SETTINGS[table]}\n\n{head}{''.join(rows)}" for table, rows in groups.items())


def limits() -> str:
    """Every limit: its default, its reason, what the peer gets who meets it, and what operators see."""
    rows = ["| limit | default | reason | past it | metric |", "| --- | --- | --- | --- | --- |"]
    explained = {row.key: row for row in config.explain(None, {})}
    for bound in bounds.BOUNDS:
        code, close = f" `{bound.code}`" if bound.code else "", f", close {bound.close}" if bound.close else ""
        gets = f"{bound.gets}{code}{close}"
        for key in bound.keys:
            row = explained[key.replace("*", "standard")]
            cells = (f"`{key}`", _code(row.value), row.description, gets, f"`{bound.metric}`")
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def fixed_limits() -> str:
    """What is bounded by the format."""
    rows = ["| what | at most |", "| --- | --- |"]
    return "\n".join(rows + [f"| {what} | {most} |" for what, most in bounds.FIXED.items()]) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "messages-of-devices": lambda: message_pages("device"),
    "messages-of-the-server": lambda: message_pages("server"),
    "structures": structures,
    "policies": policies,
    "close-codes": close_codes,
    "commands": commands.table,
    "settings": settings,
    "limits": limits,
    "fixed-limits": fixed_limits,
    "metrics": metrics.table,
    "log-events": events.table,
    "errors": errors.table,
    "events": cloudevents.table,
    "event-members": cloudevents.members,
    "event-examples": cloudevents.example,
    **capacity.PARTS,
    **{f"bad-{family.lower()}": partial(bad_input.page, family) for family in bad_input.CLAUSES},
}


# -- files ------------------------------------------------------------------------------------------------------


def expected() -> Iterator[tuple[Path, str]]:
    """Every file that holds something generated, as it should be."""
    yield DOCS / "asyncapi.json", _json(asyncapi.document())
    for place, schema in (schemas.files() | cloudevents.files()).items():
        yield DOCS / "schemas" / place, _json(schema)
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        made = _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)
        if _PART.search(text):
            yield page, made


def outdated() -> list[str]:
    """Names of files that are not as they should be, or that nothing makes any more."""
    wanted = dict(expected())
    found = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    found += [path for path in (DOCS / "schemas").rglob("*.json") if path not in wanted]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def main(arguments: list[str]) -> int:
    """Writes, or with ``--check`` only tells; 1 when something is old."""
    old = outdated()
    if "--check" not in arguments:
        wanted = dict(expected())
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in (DOCS / "schemas").rglob("*.json"):
            if path not in wanted:
                path.unlink()
    for name in old:
        print(name)
    return int(bool(old) and "--check" in arguments)


# -- forms ------------------------------------------------------------------------------------------------------


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _example(message: dict[str, Any]) -> str:
    """On one line where that is short, else a member a line."""
    text = json.dumps(message, ensure_ascii=False)
    if len(text) > 110:
        members = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in message.items()]
        text = "{\n" + ",\n".join(members) + "\n}"
    return f"```json\n{text}\n```\n"


def _find_definition(name: str) -> dict[str, Any]:
    for message in schemas.all_messages():
        found: dict[str, Any] | None = schemas.schema_of(message).get("$defs", {}).get(name)
        if found is not None:
            return found
    raise KeyError(name)


def _fields(schema: dict[str, Any]) -> str:
    rows = ["| field | type | | meaning |", "| --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        if name != "type":
            need = "required" if name in schema["required"] else "optional"
            rows.append(f"| `{name}` | {_type(field)} | {need} | {field['description']} |")
    return "\n".join(rows) + "\n"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any JSON")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array":
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"array of {_type(field['items'])}{most}"
    bounds = []
    if "minimum" in field:
        bounds.append(f"from {field['minimum']}")
    if "maxLength" in field:
        bounds.append(f"{field.get('minLength', 0)} to {field['maxLength']} chars")
    return f"{kind} ({', '.join(bounds)})" if bounds else str(kind)


def _bounds(kind: SessionType) -> Iterator[Range]:
    for ranges in kind.ranges.values():
        yield from ranges


def _policy(rule: Any) -> str:
    return f"{rule['policy']}, items named by `{rule['key']}`" if isinstance(rule, dict) else str(rule)


def _code(value: str) -> str:
    return f"`{value}`" if value else "-"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
