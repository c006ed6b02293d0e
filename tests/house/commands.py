"""What the documentation tells a reader to type, against what is there."""

import re
from collections.abc import Iterator

# Every block is matched whole, whatever its language: else the end of one that is no shell's is taken for a beginning.
FENCE = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"", "sh", "bash", "console", "shell"}
INLINE = re.compile(r"`(make [a-z][a-z-]*[^`]*)`")
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)


def targets(makefile: str) -> set[str]:
    """Names of the Makefile's targets that a person may type."""
    return set(TARGET.findall(makefile))


def make_commands(markdown: str) -> Iterator[str]:
    """Targets that the text tells to make, in fenced blocks and in inline code."""
    lines = [line for info, block in FENCE.findall(markdown) if info in SHELLS for line in block.splitlines()]
    for line in [*lines, *INLINE.findall(markdown)]:
        words = line.split("#")[0].removeprefix("$ ").split()
        if words[:1] == ["make"]:
            yield from (word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word))
