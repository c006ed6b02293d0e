"""Serves, with the plants named on the command line in the code: ``python -m tests.catalogue.launch [PLANT...]``.

The first line on standard output is the two ports, plain and TLS.
"""

from __future__ import annotations

import sys
from typing import Any

from syncbridge import cli, serving
from syncbridge.config import Settings
from tests.catalogue.plants import PLANTS


def tell_ports() -> None:
    """The ports are printed as soon as the server listens."""
    places_of = serving.places_of

    def told(settings: Settings, port: int, tls_port: int | None, metrics_port: int | None) -> dict[str, str]:
        print(port, tls_port, flush=True)
        return places_of(settings, port, tls_port, metrics_port)

    serving.places_of = told  # type: ignore[assignment]


def main(plants: list[str]) -> Any:
    """The service ran, with these faults in it."""
    for name in plants:
        PLANTS[name]()
    tell_ports()
    sys.argv[1:] = ["serve"]
    return cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
