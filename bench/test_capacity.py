"""The command that measures for docs/capacity.md: it runs, and leaves a file that can be read. No gate is held."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from bench.conftest import Bench
from bench.speaking import ROOT
from loadtest.matrix.results import Results, read
from loadtest.matrix.series import TINY


async def run_tiny(report: Path) -> tuple[int, str]:
    """The command's exit code, and what it printed; in a process of its own, for it chooses its cores."""
    words = ("-m", "loadtest", "--matrix", "--tiny", "--report", str(report))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.timeout(300)
def test_the_matrix_measures_every_cell_it_was_given(bench: Bench, tmp_path: Path) -> None:
    code, said = asyncio.run(run_tiny(tmp_path))
    assert code == 0, said
    results: Results = read(tmp_path / "capacity.json")
    assert {row.cell for row in results.rows} == {cell for cells in TINY.values() for cell in cells}
    for row in results.rows:
        figures = {name: one.median for name, one in row.figures.items()}
        assert figures["commits_s"] > 0
        assert figures["node_us"] > 0
        assert (figures["redis_us"] > 0) == (row.cell.world != "embedded")
        bench.note(f"{row.cell.world}_{row.cell.sessions}", **figures)
    assert min(one.session_kib + one.connection_kib for one in results.node_memory) > 0
