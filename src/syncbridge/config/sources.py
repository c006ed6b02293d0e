"""Where the value of a key comes from, and what `explain` tells of it."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import SecretStr, ValidationError

from syncbridge.auth.rules import AuthRules
from syncbridge.config.settings import PREFIX, Settings
from syncbridge.limits import SHIPPED_PLANS, Limits, Plan, Retention
from syncbridge.net.limits import NetLimits
from syncbridge.secrets.rules import VaultRules

FILE_VARIABLE = "SYNCBRIDGE_CONFIG"
OTHER_VARIABLES = frozenset(
    {
        FILE_VARIABLE,
        "SYNCBRIDGE_URL",  # the command line's service
        "SYNCBRIDGE_TOKEN",  # and its token
        "SYNCBRIDGE_TWIN",
        "SYNCBRIDGE_DEBUG",
        "SYNCBRIDGE_SANITIZE",
        "SYNCBRIDGE_BENCH",
        "SYNCBRIDGE_SIM_SEEDS",
    }
)
"""Variables of ours that configure something else: the command line as a client, the build, the checks."""
OTHER_NAMES = {"JWT_SECRET": "SYNCBRIDGE_JWT_SECRET"}
"""Variables without our prefix that are read too: the operators' handbook names them."""


class ConfigError(Exception):
    """The configuration cannot be used; one line a finding, each naming its key and where it came from."""


class Explained(Struct, frozen=True):
    """One key: its value as text (secrets as ``***``), where it came from, and what it is for."""

    key: str
    value: str
    source: str
    description: str


def load(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force. Raises ConfigError with every finding."""
    variables = os.environ if environment is None else environment
    return _build(*_sources(file, variables))


def explain(file: Path | None = None, environment: Mapping[str, str] | None = None) -> list[Explained]:
    """Every key with its value, its source and its meaning, in the order of the classes. Raises ConfigError."""
    variables = os.environ if environment is None else environment
    from_file, from_environment, name = _sources(file, variables)
    settings = _build(from_file, from_environment, name)
    flat_file, flat_environment = _flat(from_file), _flat(from_environment)
    rows = []
    for key, field in Settings.model_fields.items():
        value = getattr(settings, key)
        for path, item, table in _inner(key, value):
            source = "default"
            if _has(flat_environment, path):
                source = f"environment {_variable(path)}"
            elif _has(flat_file, path):
                source = f"file {name}"
            description = field.description or "" if table is None else _reason(table, path)
            rows.append(Explained(path, _text(item), source, description))
    return rows


_TABLES: dict[str, type[Any]] = {
    "limits": Limits,
    "retention": Retention,
    "auth": AuthRules,
    "net": NetLimits,
    "vault": VaultRules,
}
"""Keys that are tables of their own: dataclasses, whose comments say what each default is for."""


def _inner(key: str, value: Any) -> Iterator[tuple[str, Any, type[Any] | None]]:
    """(path, value, table) of every key inside: of a table, of each plan, or the key itself."""
    if key in _TABLES:
        yield from ((f"{key}.{one}", getattr(value, one), _TABLES[key]) for one in value.__slots__)
    elif key == "plans":
        for name, plan in value.items():
            yield from ((f"{key}.{name}.{one}", getattr(plan, one), Plan) for one in Plan.__slots__)
    else:
        yield key, value, None


def _reason(table: type, path: str) -> str:
    """The comment beside a default in its class: one place to write the reason, and here to show it."""
    name = path.rpartition(".")[2]
    found = re.search(rf"^    {name}: \w+ = [^#\n]*#\s*(.+)$", inspect.getsource(table), re.MULTILINE)
    return found[1] if found else ""


def _sources(file: Path | None, variables: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any], str]:
    named = file or (Path(variables[FILE_VARIABLE]) if variables.get(FILE_VARIABLE) else None)
    return (_read(named) if named else {}), _from_environment(variables), str(named or "")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    known = {_variable(path): path for path in _keys()}
    values: dict[str, Any] = {}
    unknown = []
    for other, variable in OTHER_NAMES.items():
        if variables.get(other):
            if variables.get(variable, variables[other]) != variables[other]:
                raise ConfigError(f"{other} and {variable} are both set, to other values; unset one of them")
            variables = {**variables, variable: variables[other]}
    for variable in sorted(variables):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in known:
            unknown.append(f"{variable}: no such key{_hint(variable)}")
            continue
        *tables, inner = known[variable].split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[inner] = variables[variable]
    if unknown:
        raise ConfigError("\n".join(unknown))
    return values


def _hint(variable: str) -> str:
    if variable.endswith(("_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_ADDR", "_PROTO")):
        return " (Kubernetes sets it for a Service of this name; set enableServiceLinks: false on the pod)"
    return "; `syncbridge config` lists them"


def _keys() -> list[str]:
    paths = []
    for key in Settings.model_fields:
        if key != "plans":
            paths += [f"{key}.{one}" for one in _TABLES[key].__slots__] if key in _TABLES else [key]
    return paths + [f"plans.{name}.{one}" for name in SHIPPED_PLANS for one in Plan.__slots__]


def _variable(path: str) -> str:
    return PREFIX + path.replace(".", "__").upper()


def _flat(values: Mapping[str, Any]) -> set[str]:
    """The paths of all keys that are given."""
    paths = set()
    for key, value in values.items():
        paths |= {f"{key}.{one}" for one in _flat(value)} if isinstance(value, dict) else {key}
    return paths


def _has(paths: set[str], path: str) -> bool:
    """Whether the key is among them, or some key of the table that it is."""
    return path in paths or any(one.startswith(f"{path}.") for one in paths)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both, table by table; of a key in both, the value ``above``."""
    merged = dict(below)
    for key, value in above.items():
        held = merged.get(key)
        merged[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged


def _build(from_file: dict[str, Any], from_environment: dict[str, Any], name: str) -> Settings:
    try:
        return Settings(**_merged(from_file, from_environment))
    except ValidationError as error:
        flat = _flat(from_environment)
        lines = []
        for finding in error.errors(include_input=False, include_url=False):
            path = ".".join(str(part) for part in finding["loc"])
            source = f" ({_variable(path)})" if path in flat else f" ({name})" if _has(_flat(from_file), path) else ""
            # pydantic says "unexpected keyword argument" of a dataclass and "extra inputs" of a model.
            is_unknown = finding["type"] in ("extra_forbidden", "unexpected_keyword_argument")
            text = (
                "no such key; `syncbridge config` lists them"
                if is_unknown
                else finding["msg"].removeprefix("Value error, ")
            )
            lines.append(f"{path or 'configuration'}{source}: {text}")
        # The cause is left out: its text repeats the values, and one of them may be a secret.
        raise ConfigError("\n".join(lines)) from None


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)
