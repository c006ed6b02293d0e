"""The user that the page of security makes in Redis: by the very line that operators are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import redis

PAGE: Final = Path(__file__).parents[2] / "docs/security.md"
USER: Final = "syncbridge"
PASSWORD: Final = "told"


def make_user(clients: Iterable[redis.Redis]) -> None:
    """The user of the page is there, on each of these servers, and what anybody was refused before is forgotten."""
    found = re.search(rf"^ACL SETUSER {USER} (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    words = found[1].replace("PASSWORD", PASSWORD).split()
    for client in clients:
        client.execute_command("ACL", "SETUSER", USER, *words)  # type: ignore[no-untyped-call]
        client.acl_log_reset()


def of_user(url: str) -> str:
    """The address, with the log-in of that user."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{USER}:{PASSWORD}@{rest.rpartition('@')[2]}"


def refused(clients: Iterable[redis.Redis]) -> list[str]:
    """What anybody was not let do since."""
    return [f"{one['reason']} {one['object']}" for client in clients for one in client.acl_log()]
