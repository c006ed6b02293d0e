"""RabbitMQ, with an Erlang name service of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from deploy.local.process import ServerProcess, accepts, free_port, program

_PLACES: Final = ("/usr/lib/rabbitmq/bin",)


class Rabbit:
    """One broker for ``guest`` on the loopback; what is durable survives `kill`.

    With ``certificate`` (key and chain in one PEM file) it speaks TLS on `tls_port`.
    """

    def __init__(self, folder: Path, *, port: int | None = None, certificate: Path | None = None) -> None:
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "rabbitmq.conf"
        said = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.console = true", "log.file = false"]
        self.tls_port = free_port()
        if certificate is not None:
            said += [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", "ssl_options.verify = verify_none"]
            said += [f"ssl_options.{name} = {certificate}" for name in ("certfile", "keyfile")]
        settings.write_text("".join(f"{line}\n" for line in said))
        self._environment = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"syncbridge-{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._epmd = ServerProcess(folder / "epmd", [program("epmd", "erlang-base")], self._environment)
        command = [program("rabbitmq-server", "rabbitmq-server", *_PLACES)]
        self.process = ServerProcess(folder, command, self._environment)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """It takes connections."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """It begins, which takes it ten seconds and more; `wait` tells when it takes connections."""
        if not self._epmd.is_running:
            self._epmd.start(lambda: accepts(int(self._environment["ERL_EPMD_PORT"])))
        self.process.start(lambda: True)

    def wait(self) -> None:
        """It takes connections."""
        self.process.wait(lambda: accepts(self.port), deadline_s=120)

    def kill(self) -> None:
        """It is gone, and nobody takes connections in its place: its last process may live on for a moment."""
        self.process.kill()
        while accepts(self.port):
            time.sleep(0.02)

    def ctl(self, *words: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [program("rabbitmqctl", "rabbitmq-server", *_PLACES), "-q", *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **self._environment}
        ).stdout

    def stop(self) -> None:
        self.process.stop()
        self._epmd.stop()
