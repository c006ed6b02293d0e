"""An address where sockets are opened: what may be said there, and who listens."""

from __future__ import annotations

from typing import Final

from syncbridge.net.handler import MakeHandler
from syncbridge.net.turn import Turn
from syncbridge.wire.handshake import HandshakeRules


class Endpoint:
    """One address of the server.

    Bounds   `turn.options` holds what one of its sockets may say and owe; what is counted over all sockets (places,
             handshakes) is the door's, and the same for every address.
    """

    __slots__ = ("make_handler", "rules", "turn")

    def __init__(self, turn: Turn, make_handler: MakeHandler) -> None:
        self.turn: Final = turn
        self.make_handler: Final = make_handler
        self.rules: Final = HandshakeRules(turn.options.ws_path.encode("ascii"), turn.options.allowed_origins)
