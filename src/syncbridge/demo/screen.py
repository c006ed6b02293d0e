"""What the demonstration shows while it runs: a live picture in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from syncbridge.demo.processes import DeviceProcess

WIDTH_MAX = 80
LINES_SHOWN = 9
_LINKS = {"online": "green", "offline": "yellow", "waiting": "red", "connecting": "red"}


def make_console() -> Console:
    """At most 80 columns, so that it reads alike everywhere."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(WIDTH_MAX, console.width) if console.is_terminal else WIDTH_MAX)


class Screen:
    """Lines of the story, and below them the devices as they are now."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._seconds = seconds
        self._began = time.monotonic()
        self._devices: list[DeviceProcess] = []
        self._lines: deque[Text] = deque(maxlen=LINES_SHOWN)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def show(self, device: DeviceProcess) -> None:
        """The device has a row from now on."""
        self._devices.append(device)

    def tell(self, line: str, style: str = "") -> None:
        """One line of the story; it stays."""
        text = Text.assemble((f"{self.elapsed_s:5.1f} s  ", "dim"), (line, style))
        if self._live is None:
            self._console.print(text, soft_wrap=True)
            return
        self._live.console.print(text)
        self.refresh()

    def refresh(self) -> None:
        """The picture is of now."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, expand=False, header_style="dim")
        for name, right in (
            ("", False),
            ("device", False),
            ("link", False),
            ("playhead", True),
            ("heart", True),
            ("sent", True),
            ("answered", True),
            ("version", True),
        ):
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for device in self._devices:
            status = device.status
            if status is None:
                continue
            minutes, seconds = divmod(status.position_s, 60)
            table.add_row(
                Text("▶" if status.is_active else " ", "bold green"),
                device.name,
                Text(status.link, _LINKS.get(status.link, "")),
                f"{int(minutes)}:{seconds:04.1f}",
                f"{status.heart_bpm:.0f}" if status.heart_bpm else "-",
                str(status.sent),
                str(status.answered),
                str(status.version),
            )
        done = min(1.0, self.elapsed_s / self._seconds)
        bar = "━" * round(done * 40)
        head = Text.assemble("\n", (bar, "green"), ("─" * (40 - len(bar)), "dim"), f"  {self.elapsed_s:4.0f} s")
        return Group(head, table)
