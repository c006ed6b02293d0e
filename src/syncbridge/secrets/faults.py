"""Why a secret cannot be had, in words for an operator."""

from __future__ import annotations

from typing import Final, Literal, get_args

FaultKind = Literal[
    "unreachable",
    "timeout",
    "untrusted",
    "sealed",
    "failing",
    "log_in",
    "denied",
    "missing",
    "malformed",
    "weak",
]
KINDS: Final[tuple[str, ...]] = get_args(FaultKind)
_AWAY: Final = frozenset({"unreachable", "timeout", "sealed"})


class SecretFault(Exception):
    """A secret cannot be had. The text says whose fault it is and what to do; it holds nothing that was read.

    unreachable  nobody answers at the address
    timeout      somebody does not answer in time: slow, or frozen
    untrusted    the TLS certificate of whoever answers is not trusted
    sealed       Vault is sealed, or a standby without its active node (503)
    failing      Vault says that it is broken, overloaded or not set up (429, 5xx)
    log_in       the log-in is refused, or what it needs cannot be read
    denied       logged in, but the policy does not allow this path (403)
    missing      there is nothing at this path, or no such file
    malformed    what is there is not what was expected
    weak         what is there is too weak for a signing key
    """

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind: FaultKind = kind

    @property
    def is_passing(self) -> bool:
        """Whether it may pass without anybody's changing what they configured."""
        return self.is_away or self.kind == "failing"

    @property
    def is_away(self) -> bool:
        """Whether nothing at all can be asked now."""
        return self.kind in _AWAY
