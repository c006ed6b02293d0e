"""A whole cluster on this machine, until Ctrl-C: ``make cluster``, or ``python -m deploy.local``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.local.cluster import Cluster, SetUpFailed
from deploy.local.haproxy import HAProxy
from deploy.local.process import MissingProgram, NotReady, accepts

PORT: Final = 8443
LOOK_S: Final = 0.5


class Stopped(Exception):
    """A signal asked for the end."""


def end_by_signal() -> None:
    """The first signal raises `Stopped`, wherever the program is; the second ends it at once, its children with it."""
    is_asked = False

    def heard(_number: int, _frame: object) -> None:
        nonlocal is_asked
        if is_asked:
            os._exit(1)
        is_asked = True
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heard)


def main() -> int:
    """The cluster ran until it was told to stop; 1 when it could not start, or something of it died."""
    asked = arguments()
    end_by_signal()
    folder = Path(tempfile.mkdtemp(prefix="syncbridge-cluster-"))
    port = asked.port or (PORT if not accepts(PORT) else None)
    gone: set[str] = set()
    try:
        with Cluster(folder, nodes=asked.nodes, port=port) as cluster:
            try:
                cluster.start(lambda step: say(f"starting  {step}"))
                for line in page(cluster):
                    say(line)
                watch(cluster, gone)
            except Stopped:
                say("stopping: the nodes drain, then the rest ends; once more to stop at once")
    except (MissingProgram, NotReady, SetUpFailed) as trouble:
        print(trouble, file=sys.stderr)
        return 1
    finally:
        if asked.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    say("stopped")
    return 1 if gone else 0


def watch(cluster: Cluster, gone: set[str]) -> None:
    """Until it is told to stop, each process that ends before is said once, and is in ``gone``."""
    while True:
        time.sleep(LOOK_S)
        for name, process in cluster.processes():
            if not process.is_running and name not in gone:
                gone.add(name)
                say(f"{name} ended; the rest goes on  (what it said: {process.log})")


def page(cluster: Cluster) -> list[str]:
    """Where everything is, and what to try."""
    edge, vault = cluster.edge, cluster.vault
    bao = f"VAULT_ADDR={vault.url} VAULT_TOKEN={vault.token} {vault.program}"
    return [
        "",
        f"REST        {edge.url}/v1   (API page: {edge.url}/docs)",
        f"WebSocket   {edge.url.replace('https', 'wss')}/v1/ws",
        f"Authority   {edge.authority}   (made just now; who connects must trust it)",
        *(f"{node.name:<10}  {node.url}   metrics {node.metrics_url}" for node in cluster.nodes),
        f"HAProxy     {edge.admin_url}",
        f"Redis       {cluster.redis.url}",
        f"PostgreSQL  {cluster.postgres.url}",
        f"RabbitMQ    {cluster.rabbit.url}",
        f"Vault       {vault.url}   token {vault.token}",
        f"Folder      {cluster.folder}   (data and logs; gone at the end, without --keep)",
        "",
        "Try it, in another terminal:",
        *(f"  {line}" for line in first_steps(edge)),
        f"  {sys.executable} -m websockets {edge.url.replace('https', 'wss')}/v1/ws   # a device: say this, and more",
        '    {"type": "hello", "token": "...", "device": {"id": "phone", "name": "My phone"}}   # of echo $TOKEN',
        '    {"type": "join", "session": "..."}',
        "",
        "Break it, and see that nothing is lost:",
        f"  kill -9 {cluster.nodes[0].process.pid}   # {cluster.nodes[0].name}: its devices go on at another",
        f"  kill -9 {cluster.redis.nodes[0].process.pid}   # a primary of Redis: its replica takes over",
        f"  {bao} kv put -mount=secret harmonyflow/jwt signing_key=$(openssl rand -base64 32)   # a new signing key",
        "",
        "Ctrl-C ends it all.",
    ]


def first_steps(edge: HAProxy) -> list[str]:
    """Lines for a shell, one after the other: trust, an account, a session, and what there is of it."""
    json, me = "-H 'Content-Type: application/json'", '-H "Authorization: Bearer $TOKEN"'
    person = '\'{"email": "you@example.com", "password": "correct horse battery staple"}\''
    token = f"{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])'"
    return [
        f"export SSL_CERT_FILE={edge.authority} CURL_CA_BUNDLE={edge.authority}",
        f"curl -sS {edge.url}/health",
        f"TOKEN=$(curl -sS {edge.url}/v1/accounts {json} -d {person} | {token})",
        f'curl -sS {edge.url}/v1/sessions {me} {json} -d \'{{"type": "breathing"}}\'',
        f"curl -sS {edge.url}/v1/sessions {me}",
    ]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="make cluster",
        usage='make cluster ARGS="[--nodes N] [--port PORT] [--keep]"',
        description="A whole cluster on this machine, until Ctrl-C: six Redis (three primaries, a replica each), "
        "PostgreSQL, RabbitMQ, OpenBao, nodes of SyncBridge, and HAProxy with TLS before them. It says where "
        "everything is, and what to try. What is not installed is named with the command that installs it.",
    )
    parser.add_argument("--nodes", type=int, default=2, help="nodes of SyncBridge (2)")
    parser.add_argument("--port", type=int, help=f"port of the edge ({PORT}, or a free one where that is taken)")
    parser.add_argument("--keep", action="store_true", help="leave the folder, for a look at data and logs")
    asked = parser.parse_args()
    if asked.nodes < 1:
        parser.error("--nodes: at least 1")
    return asked


def say(line: str) -> None:
    """The line is seen at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
