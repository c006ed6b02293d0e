"""Why a broker cannot be told anything, in our own words: the libraries' may hold the address with the password."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiormq.exceptions import AuthenticationError, ChannelAccessRefused, InvalidFrameError, ProbableAuthenticationError

from syncbridge.ports.outbox import NotToldReason

FAULTS: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, ValueError)
"""What the libraries raise where a broker is away, or does not let us in."""


def fault_of(error: BaseException) -> tuple[NotToldReason, str]:
    """What is wrong with the broker that this was raised of, for an operator."""
    match error:
        case ChannelAccessRefused():
            return "refused", "the user may not declare or use the exchange"
        case AuthenticationError() | ProbableAuthenticationError() | InvalidFrameError():
            # InvalidFrameError: the library says so when a close comes where the vhost should be opened.
            return "refused", "wrong user or password, or the vhost is not there or not the user's"
        case TimeoutError():
            return "away", "it does not answer in time"
    # The library wraps what the system raised, in what is an OSError too.
    match error.__cause__ or error:
        case ssl.SSLError():
            return "away", "TLS fails: its certificate is not trusted (amqp_ca_file), or it speaks none at this port"
        case socket.gaierror():
            return "away", "its name is not known here"
        case OSError(errno=int(number)):
            return "away", os.strerror(number)
    return "away", type(error).__name__
