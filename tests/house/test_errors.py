import subprocess
import sys
from collections import Counter

import pytest

from syncbridge import errors
from syncbridge.errors import SyncBridgeError
from tests.house.files import ROOT

LEAVES = list(errors.leaves())


def test_codes_are_unique() -> None:
    assert [code for code, times in Counter(leaf.code for leaf in LEAVES).items() if times > 1] == []


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_a_leaf_says_what_to_do(leaf: type[SyncBridgeError]) -> None:
    assert leaf.retry in {"never", "same", "later", "resync"}
    assert 400 <= leaf.http_status <= 599
    assert leaf.close_code is None or leaf.close_code in range(1000, 1016) or leaf.close_code in range(4400, 4500)
    assert leaf.code == leaf.code.lower().replace(" ", "_").replace("-", "_")
    assert leaf.meaning.endswith("."), "a sentence for a person"


def test_every_leaf_is_drawn_in_the_tree() -> None:
    drawn = set((errors.__doc__ or "").replace("|", " ").replace("-", " ").replace("`", " ").split())
    assert {leaf.__name__ for leaf in LEAVES} - drawn == set()


def test_documented_table_is_the_one_of_the_classes() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "syncbridge.errors"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert all(f"`{leaf.code}`" in made for leaf in LEAVES)
    assert made in (ROOT / "docs/errors.md").read_text(encoding="utf-8"), (
        "docs/errors.md is old: put in the output of `python -m syncbridge.errors`"
    )
