"""``make load``: three shapes of load against a service on this machine, and a report.

    python -m loadtest                       # its own service, about a minute in all
    python -m loadtest --shape storm --users 40 --seconds 30
    python -m loadtest --url http://127.0.0.1:8080
    python -m loadtest --matrix              # another thing: what everything costs, see `loadtest.matrix`

Bounded in people and in time, and to this machine alone: it is no tool to trouble others with. Exits with 1 when
anything acknowledged was lost, when a request failed, or when continuity is below 99.9 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.ending import interruptible
from loadtest.measures import as_markdown
from loadtest.shapes import SHAPES
from syncbridge.demo.processes import CannotRun, ServiceProcess
from syncbridge.demo.rest import Rest
from syncbridge.errors import SyncBridgeError

ROOT = Path(__file__).resolve().parents[1]
USERS_MAX, SECONDS_MAX = 500, 600
CONTINUITY_LEAST = 0.999
SLACK_S = 60.0
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--users", type=int, default=30, help=f"people at most, two devices each (30; <= {USERS_MAX})")
    parser.add_argument("--seconds", type=float, default=17.0, help=f"of each shape (17; <= {SECONDS_MAX})")
    parser.add_argument("--url", help="a running service on this machine, instead of one of its own")
    parser.add_argument("--report", type=Path, default=ROOT / "reports", help="folder of load.md and load.json")
    options = parser.parse_args(arguments)
    if not 1 <= options.users <= USERS_MAX or not 1 <= options.seconds <= SECONDS_MAX:
        parser.error(f"--users is 1 to {USERS_MAX}, --seconds 1 to {SECONDS_MAX}")
    if options.url and urlsplit(options.url).hostname not in LOOPBACK:
        parser.error("--url is on this machine: 127.0.0.1, ::1 or localhost")
    return options


async def people(rest: Rest, count: int) -> list[dict[str, str]]:
    """So many accounts with a token and a session each."""
    made = []
    for number in range(count):
        email = f"load-{os.getpid()}-{number}@example.com"
        own = Rest(rest.url, await rest.create_account(email, "a load test, nothing more"))
        made.append({"token": own.token, "session": await own.create_session("breathing", "load")})
    return made


async def one_shape(shape: str, rest: Rest, who: list[dict[str, str]], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run of locust, in a process of its own. Raises CannotRun."""
    with tempfile.TemporaryDirectory(prefix="syncbridge-load-") as folder:
        plan, out, log = (Path(folder) / name for name in ("plan.json", "out.json", "log.txt"))
        content = {"url": rest.socket_url, "shape": shape, "seconds": options.seconds, "users": options.users}
        plan.write_text(json.dumps({**content, "people": who, "out": str(out)}), "utf-8")
        with log.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"),
                *("--stop-timeout", "10", "--exit-code-on-error", "0", "--host", rest.url),
                cwd=ROOT,
                env={**os.environ, "LOADTEST_PLAN": str(plan), "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(options.seconds + SLACK_S):
                    await process.wait()
            except TimeoutError as error:
                raise CannotRun(f"locust did not end in time:\n{log.read_text()[-2000:]}") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if not out.exists():
            raise CannotRun(f"locust ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        figures: dict[str, Any] = json.loads(out.read_text("utf-8"))
        if not figures["times"]:
            raise CannotRun(f"nobody could do anything:\n{log.read_text()[-2000:]}")
        return figures


def broken(runs: list[dict[str, Any]]) -> list[str]:
    """A sentence for each promise that a run broke."""
    found = []
    for run in runs:
        if run["lost"]:
            found.append(f"{run['shape']}: {run['lost']} acknowledged updates were lost")
        if run["errors"]:
            found.append(f"{run['shape']}: {sum(run['errors'].values())} requests failed")
        if run["continuity"] is None or run["continuity"] < CONTINUITY_LEAST:
            found.append(f"{run['shape']}: continuity is {run['continuity']}, wanted {CONTINUITY_LEAST}")
    return found


UNBOUND = (
    *("AUTH__LOGIN_BURST", "LIMITS__ADDRESS_REQUEST_BURST"),
    *("PLANS__STANDARD__REQUEST_BURST", "PLANS__STANDARD__PUSH_BURST", "LIMITS__MESSAGE_BURST"),
)
"""All users of a load come from one address, and faster than people."""


async def run(options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        if options.url:
            rest = Rest(options.url)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncbridge-load-")))
            service = ServiceProcess(
                folder, {"SYNCBRIDGE_AUTH__ARGON2_TIME_COST": "1"} | {f"SYNCBRIDGE_{key}": "1000000" for key in UNBOUND}
            )
            stack.push_async_callback(service.stop)
            await service.start()
            rest = Rest(service.url)
        who = await people(rest, options.users)
        runs = []
        for shape in SHAPES if options.shape == "all" else [options.shape]:
            print(f"{shape}: up to {options.users} people for {options.seconds:g} s", flush=True)
            runs.append(await one_shape(shape, rest, who, options))
    text = as_markdown(runs)
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "load.md").write_text(text + "\n", "utf-8")
    (options.report / "load.json").write_text(json.dumps(runs, indent=1) + "\n", "utf-8")
    print(f"\n{text}\nwritten to {options.report}/load.md and load.json")
    found = broken(runs)
    for promise in found:
        print(f"BROKEN  {promise}")
    return 1 if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    if "--matrix" in words:
        from loadtest.matrix.__main__ import main as measure

        return measure([word for word in words if word != "--matrix"])
    options = parse(words)
    try:
        return asyncio.run(interruptible(run(options)))
    except (CannotRun, SyncBridgeError) as reason:
        print(f"the load test cannot run: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
