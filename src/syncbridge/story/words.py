"""Times, spans and devices, in words."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at_ms: int) -> str:
    """``2026-11-25 12:03:04 UTC``, as a person and a log search read it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(ms: float) -> str:
    """``2 d 3 h``, ``4 min 5 s``, ``12 s``, ``80 ms``: the two largest units that count."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    seconds = round(ms / 1000)
    parts: list[tuple[int, str]] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count)


def place(position_s: float) -> str:
    """A position of the playhead: ``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(int(position_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def who(device: str) -> str:
    """``device tv``; "the REST interface" where no device numbered the change. Nothing in it moves a cursor."""
    return f"device {plain(device)}" if device else "the REST interface"


def plain(text: str) -> str:
    """The text without control characters."""
    return "".join(one if one.isprintable() else "?" for one in text)


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
