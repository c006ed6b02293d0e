"""What an operator reads of a broker that is not told, whatever the libraries raised."""

from __future__ import annotations

import socket
import ssl

import pytest
from aio_pika.exceptions import AMQPConnectionError
from aiormq.exceptions import ChannelAccessRefused, ProbableAuthenticationError

from syncbridge.adapters.cluster.events.faults import FAULTS, fault_of

SECRET = "amqp://guest:canary@rabbit/"


def wrapped(cause: Exception) -> AMQPConnectionError:
    error = AMQPConnectionError(SECRET)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (ProbableAuthenticationError(SECRET), "refused", "wrong user or password"),
        (ChannelAccessRefused(SECRET), "refused", "may not declare or use the exchange"),
        (TimeoutError(SECRET), "away", "does not answer in time"),
        (ConnectionRefusedError(111, SECRET), "away", "Connection refused"),
        (wrapped(ConnectionRefusedError(111, SECRET)), "away", "Connection refused"),
        (wrapped(socket.gaierror(-2, SECRET)), "away", "its name is not known here"),
        (wrapped(ssl.SSLCertVerificationError(1, SECRET)), "away", "amqp_ca_file"),
        (wrapped(OSError(SECRET)), "away", "AMQPConnectionError"),
        (ValueError(SECRET), "away", "ValueError"),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, Exception) else part,
)
def test_a_fault_is_told_in_words_of_our_own(error: Exception, reason: str, said: str) -> None:
    found, sentence = fault_of(error)
    assert found == reason
    assert said in sentence
    assert "canary" not in sentence
    assert isinstance(error, FAULTS)
