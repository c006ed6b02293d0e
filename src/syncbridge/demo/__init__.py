"""``syncbridge demo``: a recorded session carried through three devices, handoffs, a cut and a crash.

Exits with 0 when every promise was kept, 1 when one was broken (it is named), 2 when nothing could be run, and 130
after Ctrl-C. Whatever it started has ended and what it wrote is gone when it exits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from rich.console import Console
from rich.text import Text

from syncbridge.demo import report
from syncbridge.demo.processes import CannotRun
from syncbridge.demo.rest import Rest
from syncbridge.demo.screen import Screen, make_console
from syncbridge.demo.story import Story, own_service
from syncbridge.errors import SyncBridgeError

KEPT, BROKEN, NOT_RUN, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The demonstration ran; its exit code (see the module's text)."""
    options = _parse(arguments)
    console = make_console()
    try:
        return asyncio.run(_interruptible(console, options))
    except KeyboardInterrupt:
        return INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="syncbridge demo", description="Carry a recorded session through three devices, handoffs and a crash."
    )
    parser.add_argument("--url", help="a running service, instead of one of the demonstration's own (not killed then)")
    parser.add_argument("--token", default=os.environ.get("SYNCBRIDGE_TOKEN", ""), help="an account's token there")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long one run takes (60)")
    parser.add_argument("--keep-going", type=int, default=1, metavar="N", help="N runs, each with other timing")
    parser.add_argument("--seed", type=int, help="the timing of the first run; each run prints its own")
    options = parser.parse_args(arguments)
    if options.url and not options.token:
        parser.error("--url needs --token (`syncbridge token you@example.com` prints one)")
    if options.keep_going < 1 or options.seconds <= 0:
        parser.error("--keep-going and --seconds are above 0")
    return options


async def _interruptible(console: Console, options: argparse.Namespace) -> int:
    """As `_all_runs`; SIGINT, SIGTERM and SIGHUP end it as an exception does, so that everything is cleaned up."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(_all_runs(console, options))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        console.print("\nInterrupted; everything that was started has ended.")
        return INTERRUPTED


async def _all_runs(console: Console, options: argparse.Namespace) -> int:
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    seeds = [seed, *(Random(seed + place).randrange(1_000_000) for place in range(1, options.keep_going))]  # noqa: S311
    for place, one in enumerate(seeds, 1):
        label = f"run {place} of {len(seeds)}, " if len(seeds) > 1 else ""
        console.print(f"SyncBridge demonstration: {label}seed {one}, about {options.seconds:.0f} s")
        try:
            code = await _one_run(console, options, one)
        except (CannotRun, SyncBridgeError) as reason:
            console.print(Text(f"The demonstration cannot run: {reason}", "red"), soft_wrap=True)
            return NOT_RUN
        if code != KEPT:
            console.print(f"Again with: syncbridge demo --seed {one}")
            return code
    return KEPT


async def _one_run(console: Console, options: argparse.Namespace, seed: int) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncbridge-demo-")))
        screen = Screen(console, options.seconds)
        if options.url:
            rest, service = Rest(options.url, options.token), None
            screen.tell(f"{options.url} is somebody else's: it is not killed")
        else:
            rest, service = await stack.enter_async_context(own_service(directory))
            screen.tell(f"a service of our own listens at {rest.url}")
        with screen:
            story = Story(
                rest=rest, service=service, directory=directory, screen=screen, seconds=options.seconds, seed=seed
            )
            account = await story.run()
        report.show(console, account)
        return BROKEN if account.broken else KEPT
