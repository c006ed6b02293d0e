import subprocess
import sys
from pathlib import Path

from tests.house import commands
from tests.house.files import ROOT, project_files

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROMISED = {"setup", "run", "test", "demo", "bench", "load", "lock", "fmt", "lint", "types", "clean", "help"}


def test_makefile_has_every_promised_target() -> None:
    assert commands.targets(MAKEFILE) >= PROMISED


def test_every_make_command_in_the_documentation_exists() -> None:
    told = {
        (file.as_posix(), target)
        for file in project_files()
        if file.suffix == ".md"
        for target in commands.make_commands((ROOT / file).read_text(encoding="utf-8"))
    }
    assert {("README.md", "run"), ("README.md", "test")} <= told
    assert {pair for pair in told if pair[1] not in commands.targets(MAKEFILE)} == set()


def test_a_make_command_is_read_from_blocks_and_from_prose() -> None:
    text = "Type `make run`, or `make demo ARGS=1`.\n```sh\n$ make setup test  # make nothing\nls\n```\nWe make sense."
    assert list(commands.make_commands(text)) == ["setup", "test", "run", "demo"]


def test_variables_and_patterns_are_not_targets() -> None:
    assert commands.targets("SHELL := bash\nbin: x\n\tcp\n.PHONY: y\nlock-all:\nflavour := 1\n") == {"bin", "lock-all"}


def test_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    assert {line.split()[1] for line in listed.splitlines()} == commands.targets(MAKEFILE)


def test_public_names_are_those_of_the_compiled_core() -> None:
    script = "import syncbridge as s; print(*(f'{n}={getattr(s, n).__module__}' for n in s.__all__ if n[0] != '_'))"
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(sys.prefix), capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert {name.split("=")[0] for name in told} == {
        "apply_patch", "compile_policies", "diff", "merge3", "merge_patch", "rebase",
    }  # fmt: skip
    assert all("=syncbridge._ext." in name for name in told)
