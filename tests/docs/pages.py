"""The pages of the documentation, and what of them can be tried: fenced blocks, links, commands, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.house.files import ROOT

_FENCE = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: where it stands, what follows the backticks, what is inside."""

    page: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that a reader is led to."""
    inside = [path for folder in ("docs", "clients/vectors") for path in (ROOT / folder).rglob("*.md")]
    return [ROOT / "README.md", *sorted(inside)]


def blocks(*infos: str) -> list[Block]:
    """The blocks of all pages with one of these words after the backticks."""
    return [block for page in pages() for block in _blocks_of(page) if block.info in infos]


def infos() -> set[str]:
    """Every word after backticks that any page uses."""
    return {block.info for page in pages() for block in _blocks_of(page)}


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page.relative_to(ROOT).as_posix(), line, found[1], found[2])


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """Targets of the page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names by which a link reaches a heading, as code hosts make them."""
    return {_slug(heading) for heading in _HEADING.findall(prose(page))}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
