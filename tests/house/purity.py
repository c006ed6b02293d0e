"""What the core must not call, and what in `src` must have a docstring, found in the syntax tree."""

import ast
from collections.abc import Iterator

BANNED_NAMES = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "id", "hash"})
"""`id` and `hash` differ from run to run, so a machine that uses them cannot be replayed."""

BANNED_ROOTS = frozenset({"time", "random", "uuid", "os", "logging", "secrets", "asyncio", "socket"})
BANNED_METHODS = frozenset({"now", "utcnow", "today"})
CLOCKS = frozenset({"datetime", "date"})


def impure_calls(source: str, name: str) -> Iterator[str]:
    """Calls that let the clock, chance or the outside into a machine, as "name:line: call"."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        parts = called.split(".")
        is_clock = parts[-1] in BANNED_METHODS and len(parts) > 1 and parts[-2] in CLOCKS
        if called in BANNED_NAMES or (len(parts) > 1 and parts[0] in BANNED_ROOTS) or is_clock:
            yield f"{name}:{node.lineno}: {called}()"


def _is_said(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    if ast.get_docstring(node):
        return True
    # An error says what it means in a class attribute: the tables of the documentation are made of it.
    return isinstance(node, ast.ClassDef) and any(
        isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name) and item.targets[0].id == "meaning"
        for item in node.body
    )


def undocumented(source: str, name: str) -> Iterator[str]:
    """Public classes and functions of a module that say nothing about themselves, as "name:line: thing"."""
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)
            and not _is_said(node)
        ):
            yield f"{name}:{node.lineno}: {node.name} has no docstring"
