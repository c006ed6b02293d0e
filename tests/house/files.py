"""Which files the house rules look at, and the rules that need nothing but a file's name and text."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LINES_MAX = 500
SIZED = ("src/", "ext/", "tests/", "bench/", "loadtest/", "clients/")
SIZED_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".ts", ".tsx", ".lua"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}

# One letter of each word stands in brackets, so that this file does not hold what it forbids.
UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b|\bN[o]tImplementedError\b")
EVADED = re.compile(
    r"\b(?:pytest\.(?:mark\.)?|unittest\.|@)(?:s[k]ip(?:if|unless|Test)?|x[f]ail|i[m]portorskip)\b", re.IGNORECASE
)
HOLLOW = re.compile(r"^\s*assert (?:True|1)\s*(?:#.*)?$", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:w[o]rk|r[o]ot|opt/w[h]eels)/[\w.]")
REGISTRY_HOST = re.compile(
    r"\b(?:(?:test\.|files\.)?pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|(?:static\.|index\.)?crates\.io"
    r"|proxy\.golang\.org|repo1?\.maven\.(?:apache\.)?org|deb\.debian\.org)\b"
)
CODE_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".ts", ".tsx", ".js", ".mjs", ".lua", ".sh"}


def project_files(root: Path = ROOT) -> list[Path]:
    """Files that are tracked, or new and not ignored, relative to `root`; deleted ones are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.decode()
    return sorted({Path(name) for name in listed.split("\0") if name and (root / name).is_file()})


def text_of(path: Path) -> str:
    """The file's text, or "" when it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def too_long(root: Path, files: list[Path]) -> Iterator[str]:
    """Files of code past `LINES_MAX` lines: each holds two ideas."""
    for file in files:
        if file.as_posix().startswith(SIZED) and file.suffix in SIZED_SUFFIXES:
            lines = text_of(root / file).count("\n")
            if lines > LINES_MAX:
                yield f"{file}: {lines} lines, {LINES_MAX} allowed: which two ideas are inside?"


def drawers(files: list[Path]) -> Iterator[str]:
    """Modules and folders named for being useful instead of for what they hold."""
    for file in files:
        if DRAWERS & {part.split(".")[0].lower() for part in file.parts}:
            yield f"{file}: a drawer; name it for the concept it holds"


def untyped(files: list[Path]) -> Iterator[str]:
    """Extensions without a typed face."""
    for file in files:
        if file.suffix == ".pyx" and Path("src/syncbridge/_ext", file.stem + ".pyi") not in files:
            yield f"{file}: src/syncbridge/_ext/{file.stem}.pyi is missing"


def unfinished(root: Path, files: list[Path]) -> Iterator[str]:
    """Marks of work not done, tests that are not run, and assertions that cannot fail."""
    for file in files:
        if file.suffix not in CODE_SUFFIXES:
            continue
        text = text_of(root / file)
        for rule in (UNFINISHED, EVADED, HOLLOW):
            for found in rule.finditer(text):
                yield f"{file}:{text.count(chr(10), 0, found.start()) + 1}: {found.group().strip()}"


def local_traces(root: Path, files: list[Path]) -> Iterator[str]:
    """Paths of one person's machine, and hosts of package registries."""
    for file in files:
        text = text_of(root / file)
        for rule in (MACHINE_PATH, REGISTRY_HOST):
            for found in rule.finditer(text):
                yield f"{file}:{text.count(chr(10), 0, found.start()) + 1}: {found.group()}"
