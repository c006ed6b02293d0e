"""A network of one's own, in which links can be cut: a namespace with a loopback, and nftables in it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from deploy.local.process import program

_CLONE_NEWNET: Final = 0x40000000
_WAYS: Final = "add table ip nemesis_ways; add chain ip nemesis_ways out { type nat hook output priority -100; }"
_TABLE: Final = "add table inet nemesis; add chain inet nemesis input { type filter hook input priority 0; }"


class NeedsRoot(RuntimeError):
    """This process may not make a network; the text says what to do."""


class Network:
    """The links of a network of one's own; got from `own_network` alone, so that no rule reaches the machine's."""

    def cut(self, host: str, others: Iterable[str]) -> None:
        """Nothing that the host and the others say reaches each other: connections hang, as with a broken cable."""
        rules = [_TABLE]
        for other in others:
            for source, target in ((host, other), (other, host)):
                rules.append(f"add rule inet nemesis input ip saddr {source} ip daddr {target} drop")
        _nft("; ".join(rules))

    def heal(self) -> None:
        """Every cut is mended."""
        _nft("add table inet nemesis; delete table inet nemesis")

    @contextmanager
    def detour(self, source: str, ways: Iterable[tuple[str, int, int]]) -> Iterator[None]:
        """Meanwhile, what connects from the source to an address and port comes to another port of the source.

        ``ways`` are address, port and that other port. Connections that are open stay where they are.
        """
        rules = [
            f"add rule ip nemesis_ways out ip saddr {source} ip daddr {host} tcp dport {port} dnat to {source}:{to}"
            for host, port, to in ways
        ]
        _nft("; ".join([_WAYS, *rules]))
        try:
            yield
        finally:
            _nft("delete table ip nemesis_ways")


def _nft(words: str) -> None:
    subprocess.run([program("nft", "nftables"), words], check=True)


@contextmanager
def own_network() -> Iterator[Network]:
    """This thread, and every thread and process that it starts, are in a network of their own until the end.

    Nothing of the machine is reached from it, nor reaches it. Raises NeedsRoot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise NeedsRoot(
                f"no network namespace can be made here ({reason}), in which links are cut without harm to the"
                " machine: run the tests as root, in a container with --cap-add SYS_ADMIN --cap-add NET_ADMIN"
            )
        subprocess.run([program("ip", "iproute2"), "link", "set", "lo", "up"], check=True)
        try:
            yield Network()
        finally:
            if libc.setns(before, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the way back to the machine's network was not found")
    finally:
        os.close(before)
