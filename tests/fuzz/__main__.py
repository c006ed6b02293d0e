"""Fuzzes one target until its bound: ``python -m tests.fuzz TARGET [PLANT] [-OPTION=VALUE...]``, libFuzzer's options.

Ends with 0 when nothing was found. A finding is written to ``FOLDER/crash-...`` (``-artifact_prefix=FOLDER/``): move it
to tests/fuzz/findings/TARGET, and the tests keep it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["syncbridge"]):
    from tests.fuzz.plants import PLANTS
    from tests.fuzz.targets import TARGETS

from tests.fuzz.corpus import seeds

INPUT_BYTES_MAX = 4_096
INPUT_S_MAX = 5
MEMORY_MB_MAX = 1_024


def main(arguments: list[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    words = [one for one in arguments if not one.startswith("-")]
    options = [one for one in arguments if one.startswith("-")]
    target = TARGETS[words[0]]
    for name in words[1:]:
        PLANTS[name]()
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(words[0])):
            Path(folder, f"{number:04d}").write_bytes(seed)
        bounds = [f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}"]
        atheris.Setup([sys.argv[0], *bounds, "-print_final_stats=1", *options, folder], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
