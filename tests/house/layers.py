"""The table of layers, and the walk over the imports that holds it.

`ours` names the layers that a layer may import besides itself; `foreign` the packages outside the standard library
(None: any that is not reserved elsewhere); `banned` the standard library's modules that it must not touch.
Imports inside functions and under TYPE_CHECKING count: the table is about who knows whom.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "syncbridge"

CLOCKS = frozenset({"sched", "time"})
CHANCE = frozenset({"random", "secrets", "uuid"})
NETWORK = frozenset({"asyncio", "http", "select", "selectors", "socket", "socketserver", "ssl", "urllib"})
PROCESSES = frozenset({"concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"})
FILES = frozenset({"fcntl", "io", "logging", "os", "pathlib", "shutil", "sqlite3", "tempfile"})
WORLD = CLOCKS | CHANCE | NETWORK | PROCESSES | FILES
"""The standard library's ways to the clock, to chance and to the outside."""

BACK_ENDS = frozenset({"aio_pika", "asyncpg", "hiredis", "hvac", "redis"})
SERVERS = frozenset({"fastapi", "httptools", "starlette", "uvicorn"})
DATABASES = frozenset({"aiosqlite", "alembic", "sqlalchemy"})


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer may know."""

    ours: frozenset[str]
    foreign: frozenset[str] | None = frozenset()
    banned: frozenset[str] = frozenset()
    banned_foreign: frozenset[str] = frozenset()


def _layers(names: str) -> frozenset[str]:
    return frozenset(names.split())


BELOW_THE_ROOT = _layers(
    "errors limits rates bounds _ext core wire ports secrets story config telemetry runtime net records auth lifecycle"
    " http"
    " adapters adapters.embedded adapters.cluster"
)

DATA = frozenset({"msgspec", "orjson"})

LAYERS = {
    "errors": Layer(_layers(""), banned=WORLD),
    "limits": Layer(_layers(""), banned=WORLD),
    "rates": Layer(_layers(""), banned=WORLD),
    "bounds": Layer(_layers(""), banned=WORLD),
    "_twin": Layer(_layers("errors"), banned=WORLD),
    # `os` for the one switch between compiled and twin.
    "_ext": Layer(_layers("errors _twin"), banned=WORLD - {"os"}),
    "core": Layer(_layers("errors limits rates _ext"), foreign=DATA, banned=WORLD),
    "wire": Layer(_layers("errors limits _ext core ports"), foreign=DATA, banned=WORLD - {"http"}),
    "ports": Layer(_layers("errors limits core"), foreign=DATA, banned=WORLD),
    # What others keep for us, whoever they are: how it is judged, when it is of force, and how it is kept fresh.
    "secrets": Layer(
        _layers("errors core ports"), foreign=None, banned_foreign=BACK_ENDS | SERVERS | DATABASES | {"picows"}
    ),
    # "" is the package's own face, read for its version.
    "telemetry": Layer(_layers("errors limits core ports") | {""}, foreign=None, banned_foreign=BACK_ENDS),
    # What became of a session's progress, judged from what others read: pure, for its owner's route and the doctor's.
    "story": Layer(_layers("errors _ext core ports"), foreign=DATA, banned=WORLD),
    "runtime": Layer(
        _layers("errors limits rates _ext core wire ports telemetry"),
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS | DATABASES | {"picows", "uvloop"},
    ),
    "net": Layer(
        _layers("errors limits core wire ports runtime telemetry"),
        foreign=None,
        banned_foreign=BACK_ENDS | DATABASES,
    ),
    "records": Layer(_layers("errors limits core ports"), foreign=None, banned_foreign=SERVERS | {"picows"}),
    # Accounts' passwords, tokens and rosters: who may speak, and for whom.
    "auth": Layer(
        _layers("errors limits core ports records telemetry"),
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS | DATABASES | {"picows"},
    ),
    # How long what people leave here stays: over logs, records and tokens alike, by their ports.
    "lifecycle": Layer(
        _layers("errors limits _ext core ports records auth"),
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS | DATABASES | {"picows"},
    ),
    "http": Layer(
        _layers("errors limits rates _ext core wire ports story runtime records auth lifecycle telemetry") | {""},
        foreign=None,
        banned_foreign=BACK_ENDS | {"picows"},
    ),
    "adapters": Layer(_layers("")),
    "adapters.embedded": Layer(
        _layers("errors limits _ext core wire ports records telemetry"),
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS | {"picows"},
    ),
    "adapters.cluster": Layer(
        _layers("errors limits _ext core wire ports secrets records telemetry"),
        foreign=None,
        banned_foreign=SERVERS | {"picows"},
    ),
    "client": Layer(
        _layers("errors limits _ext core wire") | {""},
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS | DATABASES,
    ),
    # Read once at the root, and handed down as each layer's own rules: no layer below knows the settings.
    "config": Layer(
        _layers("errors limits core auth net runtime secrets"),
        foreign=None,
        banned=NETWORK - {"urllib"},  # addresses are judged, and nobody is asked
        banned_foreign=BACK_ENDS,
    ),
    # A demonstration is a user of the client; the service it starts is a process of its own.
    "demo": Layer(_layers("errors limits _ext core wire client config") | {""}, foreign=None, banned_foreign=BACK_ENDS),
    # Looks at an installation from outside: it reads what others wrote, and is known to the command line alone.
    "doctor": Layer(
        _layers("errors limits _ext core ports secrets secret_sources story config net records auth adapters.embedded")
        | {"", "adapters.cluster"},
        foreign=None,
        banned_foreign=BACK_ENDS | SERVERS,
    ),
    # The composition root. The package's own face loads the compiled functions.
    "": Layer(_layers("_ext")),
    "__main__": Layer(_layers("cli")),
    # What the root reads of all that it put together.
    "gauges": Layer(BELOW_THE_ROOT | {""}, foreign=None),
    # Where each secret comes from; and which adapter stands behind each port: the only files that know every one.
    "secret_sources": Layer(BELOW_THE_ROOT, foreign=None),
    "backends": Layer(BELOW_THE_ROOT | {"secret_sources"}, foreign=None),
    "app": Layer(BELOW_THE_ROOT | {"", "gauges", "backends"}, foreign=None),
    # A parent of processes; of what they do it knows nothing.
    "supervisor": Layer(_layers(""), foreign=frozenset({"structlog"})),
    "serving": Layer(BELOW_THE_ROOT | {"", "app", "supervisor"}, foreign=None),
    "cli": Layer(BELOW_THE_ROOT | {"", "client", "demo", "doctor", "secret_sources", "app", "serving"}, foreign=None),
}

IMPORT_LINE = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w.]+))", re.MULTILINE)


def layer_of(module: str) -> str | None:
    """The layer that a dotted module name of ours belongs to; None when the table has no row for it."""
    inner = module.removeprefix(PACKAGE).removeprefix(".")
    if inner == "":
        return ""
    parts = inner.split(".")
    for depth in (2, 1):
        name = ".".join(parts[:depth])
        if name in LAYERS:
            return name
    return None


def imported(tree: ast.AST, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import; `from a import b` is told as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
                base = ".".join([*parents, base]).rstrip(".")
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def breaches(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """What in the text of `module` the table does not allow, as "module:line: sentence"."""
    name = layer_of(module)
    if name is None:
        yield f"{module}:1: belongs to no layer; give it a row in tests/house/layers.py, or a room that has one"
        return
    layer = LAYERS[name]
    for line, target in imported(ast.parse(source), module, is_package=is_package):
        top = target.split(".")[0]
        if top == PACKAGE:
            known = layer_of(target)
            # `from syncbridge import diff` reads a name of the package's face, not a module.
            seen = "" if known is None and target.count(".") == 1 else known
            if seen is None:
                yield f"{module}:{line}: {target} belongs to no layer"
            elif seen != name and seen not in layer.ours:
                yield f"{module}:{line}: {name or PACKAGE} must not know {seen or PACKAGE} ({target})"
        elif top in sys.stdlib_module_names:
            if top in layer.banned:
                yield f"{module}:{line}: {name} must not import {top}"
        elif top in layer.banned_foreign or (layer.foreign is not None and top not in layer.foreign):
            yield f"{module}:{line}: {name or PACKAGE} must not import {top}"


def modules(source_root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module below `source_root`/syncbridge."""
    for file in sorted((source_root / PACKAGE).rglob("*.py")):
        parts = file.relative_to(source_root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def extension_breaches(source: str, name: str, extensions: set[str]) -> Iterator[str]:
    """Imports of a .pyx or .pxd beyond `syncbridge.errors`, its sisters, and the pure part of the standard library."""
    for found in IMPORT_LINE.finditer(source):
        target = found[1] or found[2]
        line = source.count("\n", 0, found.start()) + 1
        top = target.split(".")[0]
        allowed = (
            top in {"cpython", "libc", "cython"}
            or target in extensions
            or target == f"{PACKAGE}.errors"
            or (target.startswith(f"{PACKAGE}._ext.") and target.split(".")[2] in extensions)
            or (top in sys.stdlib_module_names and top not in WORLD)
        )
        if not allowed:
            yield f"{name}:{line}: a compiled function must not know {target}"
