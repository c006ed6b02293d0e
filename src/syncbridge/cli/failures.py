"""What a command says when it could not do its work."""

from __future__ import annotations


class Failed(Exception):
    """The command did not do its work; the text says why, and what to do."""
