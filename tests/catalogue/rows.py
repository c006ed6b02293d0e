"""A row of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from tests.catalogue.stage import Send


@dataclass(frozen=True)
class Row:
    """One case: which clause of the catalogue it is, what is sent, and what exactly comes of it.

    `is_slow`    it waits for a time limit, so it runs beside the others of its kind.
    `plant`      it is about a fault of our own, so it runs against a service with this one in it.
    """

    family: str
    clause: str
    sent: str
    gets: str
    send: Send
    is_slow: bool = False
    plant: str = ""

    @property
    def id(self) -> str:
        return f"{self.family}: {self.sent}"
