"""The nemeses at length: ``python -m tests.nemesis``; with ``--rounds N`` more, or fewer, of each.

========= =============================================================================================================
part      what happens, N times (10 where nothing is said)
========= =============================================================================================================
faults    each fault of `tests.nemesis.faults` befalls the servers while five devices work over two nodes
slow      every byte between the nodes and Redis is late for a while
lines     a thousand lines between devices and nodes break, each at a byte of its own
together  five devices make a thousand edits of one register and one counter, as fast as they are answered
handoffs  a hundred, with a node killed at each step
loss      two primaries are cut off and killed with every node; and once with acknowledgements of the primary alone,
          which has to lose
deaf      once: nodes that are deaf to each other, which has to be found
away      PostgreSQL is away for a minute, then Vault for half of one, while devices work over two nodes of
          `tests.nemesis.operations`; ten minutes at the most
========= =============================================================================================================

All of them, or those that are named: ``python -m tests.nemesis lines away --rounds 5``. Prints what each measured, and
ends with 0 when nothing was wrong; all of it takes an hour and a half. Needs root (see `network`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.nemesis import parts
from tests.nemesis.network import own_network
from tests.nemesis.operations import absence
from tests.nemesis.stage import Stage

ROUNDS = 10
AWAY = "away"


def rage(names: list[str], rounds: int) -> list[str]:
    """Everything that was wrong, each with what it happened in."""
    wrong: list[str] = []
    staged = [name for name in names if name != AWAY]
    if staged:
        with tempfile.TemporaryDirectory() as folder, own_network() as network:
            stage = Stage(Path(folder), network)
            try:
                stage.start()
                for name in staged:
                    began = time.monotonic()
                    wrong += [f"{name}: {text}" for text in asyncio.run(parts.PARTS[name](stage, rounds))]
                    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
            finally:
                stage.stop()
    if AWAY in names:
        wrong += [f"{AWAY}: {text}" for text in absence.run(minutes=min(rounds, absence.MINUTES_MAX))]
    return wrong


def main(arguments: list[str]) -> int:
    """0 where every promise held, and the controls were found."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=str(__doc__).partition("\n")[0])
    known = [*parts.PARTS, AWAY]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)} (default all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each (default %(default)s)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.parts if name not in known]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(known)}")
    if options.rounds < 1:
        parser.error("expected at least one round")
    wrong = rage(options.parts or known, options.rounds)
    for text in wrong:
        print(f"WRONG  {text}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
