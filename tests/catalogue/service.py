"""One real service process and its accounts: Olga, whom nothing must hurt, and Mallory, who sends what is bad."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
import trustme

from syncbridge.config import OTHER_VARIABLES, PREFIX
from tests.house.files import ROOT

START_S = 60.0
PASSWORD = "correct horse battery staple"
ORIGIN = "https://app.example.com"
PROXY = "127.0.0.1"
STATE = {"n": 1, "text": "still here", "list": [1, 2, 3], "object": {"a": {"b": 1}}}

_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Account:
    """Who somebody is, and what is theirs."""

    id: str
    email: str
    token: str
    refresh_token: str
    sessions: tuple[str, ...]


class ServiceProcess:
    """`syncbridge serve` on free ports, its log in a file; a plant may be put into its code before it starts."""

    def __init__(self, folder: Path, *plants: str, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._log_path = folder / "log"
        self._log_read = 0
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(certificate)
        settings = {
            "PORT": "0",
            "TLS_PORT": "0",
            "TLS_CERTIFICATE": str(certificate),
            "TLS_KEY": str(key),
            "DATA_DIR": str(folder / "data"),
            "ALLOWED_ORIGINS": ORIGIN,
            "TRUSTED_PROXIES": PROXY,
            # Mallory sends more in a minute than an honest person in a month; the rates have tests of their own.
            "PLANS__STANDARD__REQUEST_BURST": "1000000",
            "PLANS__STANDARD__PUSH_BURST": "1000000",
            "LOG_FORMAT": "human",
            "LOG_LEVEL": "debug",
            **(environment or {}),
        }
        outer = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        outer |= {name: os.environ[name] for name in OTHER_VARIABLES & os.environ.keys()}
        self._log_file: IO[bytes] = self._log_path.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalogue.launch", *plants],
            cwd=ROOT,
            env={**outer, **{PREFIX + name: value for name, value in settings.items()}, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=self._log_file,
        )
        assert self._process.stdout is not None
        ports = self._process.stdout.readline().split()
        assert len(ports) == 2, self._log_path.read_text()
        self.port, self.tls_port = int(ports[0]), int(ports[1])
        self._seen = psutil.Process(self._process.pid)

    # -- what is looked at --------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        """What of the process is in memory."""
        return int(self._seen.memory_info().rss)

    def log_since(self) -> str:
        """What was logged since the last call."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_read)
            text = log.read()
        self._log_read += len(text)
        return text.decode("utf-8", "replace")

    def stop(self) -> int:
        """The process has ended cleanly; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(START_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log_file.close()

    # -- what is in it ------------------------------------------------------------------------------------------

    def http(self, token: str = "") -> httpx.Client:
        """A plain client of its REST resources."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, verify=False, timeout=30
        )

    def make_account(self, name: str, devices: tuple[str, ...], sessions_count: int) -> Account:
        """An account with its devices and sessions."""
        email = f"{name}@example.com"
        with self.http() as http:
            made = _ok(http.post("/v1/accounts", json={"email": email, "password": PASSWORD}))
        with self.http(made["access_token"]) as http:
            for device in devices:
                _ok(http.post("/v1/devices", json={"id": device}))
            sessions = [
                _ok(http.post("/v1/sessions", json={"type": "custom", "title": f"{name}'s", "state": STATE}))["id"]
                for _ in range(sessions_count)
            ]
        return Account(made["account"], email, made["access_token"], made["refresh_token"], tuple(sessions))


class ProbeProcess:
    """The honest client of `tests.catalogue.probe`, connected until it is stopped."""

    def __init__(self, port: int, token: str, session: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalogue.probe", str(port), token, session],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def took_ms(self, count: int) -> list[float]:
        """Milliseconds of each push since the last call, `count` more ones included."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n" % count)
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the probe's connection ended with {process.poll()}"
        took: list[float] = json.loads(line)
        return took

    def stop(self) -> None:
        """The probe is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def forged_lines(log: str) -> list[str]:
    """Lines of a log in human form that begin with no time: part of a traceback, or forged by whoever was logged."""
    return [line for line in log.splitlines() if line and not _LOG_LINE.match(line)]


def _ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 201, answer.text
    return answer.json()
