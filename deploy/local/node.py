"""A node: `syncbridge serve` as a child process."""

from __future__ import annotations

import contextlib
import http.client
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.process import ServerProcess, free_port


class Node:
    """One SyncBridge node on a port of its own, with the settings that ``environment`` names."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str], *, port: int | None = None) -> None:
        self.name = name
        self.port, self.metrics_port = port or free_port(), free_port()
        own = {
            "SYNCBRIDGE_NODE_NAME": name,
            "SYNCBRIDGE_HOST": "127.0.0.1",
            "SYNCBRIDGE_PORT": str(self.port),
            "SYNCBRIDGE_METRICS_PORT": str(self.metrics_port),
            "SYNCBRIDGE_DATA_DIR": str(folder / "data"),
            "SYNCBRIDGE_LOG_FORMAT": "json",
        }
        self.process = ServerProcess(folder, [sys.executable, "-m", "syncbridge", "serve"], {**own, **environment})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def launch(self) -> None:
        """It begins; `wait` tells when it is ready. Several that are launched together start at once."""
        self.process.start(lambda: True)

    def wait(self) -> None:
        """It is ready for traffic."""
        self.process.wait(self.is_ready)

    def is_ready(self) -> bool:
        """Whether traffic may be sent to it now."""
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(asking):
            asking.request("GET", "/health/ready")
            return asking.getresponse().status == 200
        return False

    def stop(self) -> None:
        """It drained and ended, or was killed after 45 s."""
        self.process.stop(deadline_s=45)
