"""How a connection ends on our side: politely, and in a bounded time."""

from __future__ import annotations

import asyncio


def part(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, timeout_ms: int) -> asyncio.TimerHandle:
    """What was written is on its way, our side is shut, and the connection is aborted after `timeout_ms`.

    A plain socket is shut for writing only and still read: closing it with bytes unread makes the kernel send a
    reset, which can overtake the last answer. TLS has no half-close; its `close` says close_notify and waits for
    the peer's, 30 s by default, hence the abort. A peer that is gone already is parted from at once.
    """
    if not transport.is_closing():
        if transport.can_write_eof():
            try:
                transport.write_eof()
            except OSError:  # asyncio's own loop shuts the socket here and now; a reset may have come before
                transport.abort()
        else:
            transport.close()
    return loop.call_later(timeout_ms / 1000, transport.abort)
