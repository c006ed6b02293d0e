"""The long run's command line: its parts by name, as the page of promises lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.nemesis import parts
from tests.nemesis.__main__ import AWAY, main

PAGE = Path(__file__).resolve().parents[2] / "docs/promises.md"


def test_the_page_of_promises_lists_every_part_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE) == [*parts.PARTS, AWAY]


@pytest.mark.parametrize(
    ("words", "said"), [(["nothing"], "no part is called nothing; there are faults,"), (["--rounds", "0"], "one round")]
)
def test_what_cannot_be_run_is_refused_by_name(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
