"""The long run: ``python -m tests.openapi [SECONDS [SEED]]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.openapi.contract import hold


def main(seconds: str = "60", seed: str = "") -> int:
    """The contract was tried for so long; 0 when it held."""
    options = [f"--max-time={seconds}", *([f"--seed={seed}"] if seed else [])]
    with tempfile.TemporaryDirectory() as folder:
        code, told = hold(Path(folder), *options)
    print(told)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
