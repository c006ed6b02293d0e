from pathlib import Path

import pytest

from tests.house import layers, purity
from tests.house.files import ROOT

SOURCE = ROOT / "src"
# The layers whose functions must give the same answer at every replay.
REPLAYED = {"core", "_twin", "wire", "errors", "limits"}


def sources(names: set[str] | None = None) -> list[tuple[str, Path]]:
    return [
        (file.relative_to(ROOT).as_posix(), file)
        for module, file in layers.modules(SOURCE)
        if names is None or layers.layer_of(module) in names
    ]


def test_core_asks_neither_clock_nor_chance_nor_the_outside() -> None:
    found = [
        call
        for name, file in sources(REPLAYED)
        if name != "src/syncbridge/errors/__main__.py"  # run as a command it prints its own table
        for call in purity.impure_calls(file.read_text(encoding="utf-8"), name)
    ]
    assert found == []


def test_every_public_thing_says_what_it_is() -> None:
    found = [gap for name, file in sources() for gap in purity.undocumented(file.read_text(encoding="utf-8"), name)]
    assert found == []


@pytest.mark.parametrize(
    "call",
    [
        "time.monotonic()",
        "random.random()",
        "uuid.uuid4()",
        "os.getpid()",
        "logging.getLogger('x')",
        "datetime.datetime.now()",
        "datetime.now(tz)",
        "date.today()",
        "open('x')",
        "print('x')",
        "hash(device)",
    ],
)
def test_an_impure_call_is_told(call: str) -> None:
    source = f"def receive(self):\n    return [{call}]\n"
    assert list(purity.impure_calls(source, "machine.py")) == [f"machine.py:2: {call.split('(')[0]}()"]


def test_pure_calls_are_not_told() -> None:
    assert list(purity.impure_calls("x = self.open(); y = state.time(3); z = hashlib.sha256(b'')", "machine.py")) == []


@pytest.mark.parametrize(
    "source", ["def f(): pass", "async def f(): pass", "class C:\n    x = 1", "class E(Exception):\n    code = 'e'"]
)
def test_a_silent_thing_is_told(source: str) -> None:
    assert len(list(purity.undocumented(source, "x.py"))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    'said'",
        "def _f(): pass",
        "class C:\n    'said'",
        "class E(Exception):\n    code = 'e'\n    meaning = 'said'",
        "@typing.overload\ndef f(a: int) -> int: ...",
    ],
)
def test_a_thing_that_speaks_is_not_told(source: str) -> None:
    assert list(purity.undocumented(source, "x.py")) == []
