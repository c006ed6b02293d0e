import subprocess
from pathlib import Path

import pytest

from tests.house import files
from tests.house.files import ROOT

FILES = files.project_files()


def test_the_project_is_seen() -> None:
    assert {Path("pyproject.toml"), Path("src/syncbridge/__init__.py"), Path("tests/house/files.py")} <= set(FILES)


def test_no_file_holds_two_ideas() -> None:
    assert list(files.too_long(ROOT, FILES)) == []


def test_no_module_is_a_drawer() -> None:
    assert list(files.drawers(FILES)) == []


def test_every_extension_has_a_typed_face() -> None:
    assert list(files.untyped(FILES)) == []


def test_nothing_is_unfinished_or_evaded() -> None:
    assert list(files.unfinished(ROOT, FILES)) == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    assert list(files.local_traces(ROOT, FILES)) == []


def write(root: Path, name: str, text: str) -> list[Path]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return [Path(name)]


def test_ignored_and_deleted_files_are_not_looked_at(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    for name in (".gitignore", "kept.py", "gone.py", "built.so"):
        write(tmp_path, name, "*.so\n" if name == ".gitignore" else "x = 1\n")
    subprocess.run(["git", "add", "gone.py"], cwd=tmp_path, check=True)
    (tmp_path / "gone.py").unlink()
    assert files.project_files(tmp_path) == [Path(".gitignore"), Path("kept.py")]


@pytest.mark.parametrize(("lines", "told"), [(files.LINES_MAX, 0), (files.LINES_MAX + 1, 1)])
def test_a_long_file_is_told(tmp_path: Path, lines: int, told: int) -> None:
    written = write(tmp_path, "src/long.py", "x = 1\n" * lines)
    assert len(list(files.too_long(tmp_path, written))) == told


@pytest.mark.parametrize("name", ["src/syncbridge/utils.py", "src/helpers/x.py", "tests/common.py"])
def test_a_drawer_is_told(name: str) -> None:
    assert len(list(files.drawers([Path(name), Path("src/syncbridge/commonplace.py")]))) == 1


def test_an_extension_without_a_face_is_told() -> None:
    faced = [Path("ext/delta.pyx"), Path("src/syncbridge/_ext/delta.pyi")]
    assert list(files.untyped(faced)) == []
    assert len(list(files.untyped([*faced, Path("ext/other.pyx")]))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # TO" + "DO later",
        "# FIX" + "ME",
        "raise NotImplemented" + "Error",
        "pytest.sk" + "ip('not here')",
        "@pytest.mark.xf" + "ail",
        "@pytest.mark.sk" + "ipif(True, reason='x')",
        "assert Tr" + "ue",
    ],
)
def test_unfinished_work_is_told(tmp_path: Path, line: str) -> None:
    written = write(tmp_path, "tests/test_x.py", f"import pytest\n{line}\n")
    assert [told.split(":")[1] for told in files.unfinished(tmp_path, written)] == ["2"]


@pytest.mark.parametrize("line", ["assert True is value", "connection.skip(4)", "todo = 1", "# a hacker's input"])
def test_finished_work_is_not_told(tmp_path: Path, line: str) -> None:
    written = write(tmp_path, "tests/test_x.py", line + "\n")
    assert list(files.unfinished(tmp_path, written)) == []


@pytest.mark.parametrize("line", ["cd /wo" + "rk/here", "key: /ro" + "ot/.ssh", "--index https://pypi" + ".org/simple"])
def test_a_local_trace_is_told(tmp_path: Path, line: str) -> None:
    written = write(tmp_path, "docs/x.md", f"text\n{line}\n")
    assert [told.split(":")[1] for told in files.local_traces(tmp_path, written)] == ["2"]


@pytest.mark.parametrize("line", ["deploy/wo" + "rk/x", 'pointer = "/ro' + 'ot"', "https://example.org/ro" + "ot/x"])
def test_an_ordinary_path_is_not_told(tmp_path: Path, line: str) -> None:
    written = write(tmp_path, "docs/x.md", line + "\n")
    assert list(files.local_traces(tmp_path, written)) == []
