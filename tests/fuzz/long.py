"""The long run: ``python -m tests.fuzz.long [-max_total_time=SECONDS]``: every target, then the OpenAPI document.

A finding is kept in build/fuzz; move its file to tests/fuzz/findings/TARGET once it is mended, so that it stays mended.
"""

from __future__ import annotations

import subprocess
import sys

from tests.fuzz.corpus import EACH
from tests.house.files import ROOT

SECONDS = 60


def main(options: list[str]) -> int:
    """Everything was fuzzed; 0 when nothing was found."""
    folder = ROOT / "build/fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    bound = next((one for one in options if one.startswith("-max_total_time=")), f"-max_total_time={SECONDS}")
    failed = []
    for target in EACH:
        print(f"== {target}", flush=True)
        words = [target, bound, *options, f"-artifact_prefix={folder}/{target}-"]
        if subprocess.run([sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, check=False).returncode:
            failed.append(target)
    print("== the OpenAPI document", flush=True)
    words = ["-m", "tests.openapi", bound.partition("=")[2]]
    if subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode:
        failed.append("openapi")
    print(f"found something: {', '.join(failed)}; see {folder.relative_to(ROOT)}" if failed else "nothing found")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
