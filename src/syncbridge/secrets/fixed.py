"""Keys from the environment: they stay until the process ends, so a rotation is a restart with both of them."""

from __future__ import annotations

from collections.abc import Sequence

from syncbridge.ports import Clock, SigningKey
from syncbridge.secrets.files import split_keys
from syncbridge.secrets.keeping import Standing


class FixedKeys:
    """The keys of one text, one a line, as a `ports.KeySource`: the first signs, the others only verify."""

    def __init__(self, text: str, place: str, clock: Clock) -> None:
        """Raises SecretFault when one of them is none."""
        self.standing = Standing("signing_keys")
        self.standing.had()
        now_ms = clock.now_ms()
        found = split_keys(text, place)
        # The first is the newest, whatever any clock says.
        self._keys = [
            SigningKey(kid, secret, now_ms, signs_from=now_ms - index, ordinal=len(found) - index)
            for index, (kid, secret) in enumerate(found)
        ]

    async def read(self) -> Sequence[SigningKey]:
        """Every key that there is."""
        return self._keys
