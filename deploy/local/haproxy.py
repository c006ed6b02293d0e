"""HAProxy in front of nodes, with TLS by an authority that is made on the spot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trustme

from deploy.local.process import ServerProcess, accepts, free_port, program

CONFIGURATION: Final = Path(__file__).parents[1] / "haproxy.cfg"
_NODES: Final = re.compile(r"(  # --- nodes ---\n).*?(  # --- end of nodes ---\n)", re.DOTALL)


class HAProxy:
    """The edge of `deploy/haproxy.cfg` over nodes of this machine; ``authority`` is the PEM file to trust."""

    def __init__(
        self,
        folder: Path,
        nodes: Mapping[str, int],
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        options: str = "",
    ) -> None:
        """``nodes`` are ports by name; ``options`` are for each server's line."""
        self.port, self.admin_port = port or free_port(), free_port()
        self.authority = folder / "authority.pem"
        certificate = folder / "edge.pem"
        configuration = folder / "haproxy.cfg"
        folder.mkdir(parents=True, exist_ok=True)
        made = trustme.CA(organization_name="HarmonyFlow on this machine")
        made.cert_pem.write_to_path(self.authority)
        issued = made.issue_cert("localhost", "127.0.0.1", "::1")
        certificate.touch(mode=0o600)
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        lines = "".join(f"  server {name} 127.0.0.1:{node} {options}".rstrip() + "\n" for name, node in nodes.items())
        text, count = _NODES.subn(rf"\g<1>{lines}\g<2>", CONFIGURATION.read_text("utf-8"))
        if not count:
            raise ValueError(f"{CONFIGURATION} has lost the lines between which the nodes stand")
        configuration.write_text(text, "utf-8")
        environment = {
            "EDGE_BIND": f"{host}:{self.port}",
            "EDGE_CERTIFICATE": str(certificate),
            "EDGE_ADMIN": f"127.0.0.1:{self.admin_port}",
        }
        self.process = ServerProcess(
            folder, [program("haproxy", "haproxy"), "-db", "-f", str(configuration)], environment
        )

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def start(self) -> None:
        """It listens; the nodes that it sends to are those whose check succeeded."""
        self.process.start(lambda: accepts(self.port) and accepts(self.admin_port))

    def stop(self) -> None:
        self.process.stop(deadline_s=2)
