"""PostgreSQL: a cluster of files of its own, made anew."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from deploy.local.process import ServerProcess, free_port, program

USER: Final = "harmonyflow"
DATABASE: Final = "harmonyflow"
_PLACES: Final = [str(place / "bin") for place in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)]


class Postgres:
    """One server with the database ``harmonyflow`` of the user ``harmonyflow``; ``url`` is for SQLAlchemy.

    With ``certificate`` (key and chain in one PEM file) it speaks TLS too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str = "harmony",
        options: str = "",
        certificate: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.password = password
        self.data = folder / "data"
        self.data.parent.mkdir(parents=True, exist_ok=True)
        # PostgreSQL refuses to run as root; as root it runs as the user that Debian's package made.
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
            # Another user's process is not told of its parent's end, unless that is asked for once it is that user's.
            self._as_user = [program("setpriv", "util-linux"), *user, "--pdeathsig=KILL"]
            _open_the_way(folder)
        if certificate is not None:
            held = Path(shutil.copy(certificate, folder / "server.pem"))
            held.chmod(0o600)  # it takes no key that others can read
            if self._as_user:
                shutil.chown(held, "postgres", "postgres")
            options += f" -c ssl=on -c ssl_cert_file={held} -c ssl_key_file={held}"
        words = f"-D {self.data} -p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= {options}"
        command = [*self._as_user, program("postgres", "postgresql", *_PLACES), *words.split()]
        # What is kept here is thrown away: a crash of the machine may lose it, a crash of the server must not.
        command += ["-c", "fsync=off", "-c", "log_min_messages=warning"]
        self.process = ServerProcess(folder, command)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{USER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """It answers; the files are made at the first start."""
        if not self.data.exists():
            self._make()
        self.process.start(self.answers)

    def answers(self) -> bool:
        ready = program("pg_isready", "postgresql-client", *_PLACES)
        return not subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode

    def psql(self, statement: str, *, database: str = DATABASE) -> str:
        """What psql prints for the statement, as the owner."""
        return subprocess.run(
            [program("psql", "postgresql-client", *_PLACES), "-XAtqc", statement],
            check=True,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": USER,
                "PGPASSWORD": self.password,
                "PGDATABASE": database,
            },
        ).stdout.strip()

    def stop(self) -> None:
        """It ends without waiting for those who are connected."""
        if self.process.is_running:
            self.thaw()
            os.kill(self.process.pid, 2)  # SIGINT: fast shutdown
        self.process.stop()

    def freeze(self) -> None:
        """It stands still with every backend, its sockets open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """It and every backend are gone at once, as by `kill -9`."""
        backends = self._backends()
        self.process.kill()
        for pid in backends:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for pid in [self.process.pid, *self._backends()]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _backends(self) -> list[int]:
        """Each is the leader of a group of its own, so a signal to the server's group does not reach it."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]

    def _make(self) -> None:
        secret = self.data.parent / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        initdb = program("initdb", "postgresql", *_PLACES)
        words = f"-D {self.data} -U {USER} --pwfile={secret} --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 -N"
        subprocess.run([*self._as_user, initdb, *words.split()], check=True, capture_output=True, cwd="/")
        secret.unlink()
        subprocess.run(
            [*self._as_user, program("postgres", "postgresql", *_PLACES), "--single", "-D", str(self.data), "postgres"],
            input=f"CREATE DATABASE {DATABASE};\n".encode(),
            check=True,
            capture_output=True,
            cwd="/",
        )


def _open_the_way(folder: Path) -> None:
    """Another user may enter the folder: temporary ones are made for their maker alone."""
    for place in [folder, *folder.parents]:
        if place == Path("/"):
            break
        mode = place.stat().st_mode
        if not mode & 0o001:
            place.chmod(mode | 0o011)
