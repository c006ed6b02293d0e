"""Serves, with the plants named on the command line in the code: ``python -m tests.catalogue.launch [PLANT...]``.

The first line on standard output is the two ports, plain and TLS.
"""

from __future__ import annotations

import sys
from typing import Any

from syncbridge import app, cli
from tests.catalogue.plants import PLANTS


def tell_ports() -> None:
    """The ports are printed as soon as the server listens."""
    places = app.Service.places

    def told(self: app.Service) -> dict[str, str]:
        print(self.server.port, self.server.tls_port, flush=True)
        return places(self)

    app.Service.places = told  # type: ignore[method-assign]


def main(plants: list[str]) -> Any:
    """The service ran, with these faults in it."""
    for name in plants:
        PLANTS[name]()
    tell_ports()
    sys.argv[1:] = ["serve"]
    return cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
