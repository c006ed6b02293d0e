"""What is taken for a signing key, and that a refusal repeats none of it."""

from __future__ import annotations

import base64
import os

import pytest

from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.strength import judge_key, public_name

CANARY = "canary-canary-canary"


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(os.urandom(32)).decode(),
        base64.urlsafe_b64encode(os.urandom(48)).decode(),
        base64.b64encode(bytes(range(32))).decode().rstrip("="),
        os.urandom(32).hex(),
        "correct:horse!battery?staple~and#more%0123",
    ],
    ids=["openssl rand -base64 32", "urlsafe", "without padding", "openssl rand -hex 32", "neither"],
)
def test_256_random_bits_are_a_key_as_they_are_written(text: str) -> None:
    assert judge_key(text, "here") == text.encode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("changeme", "weak"),
        (base64.b64encode(os.urandom(16)).decode(), "weak"),
        (base64.b64encode(os.urandom(24)).decode(), "weak"),
        (os.urandom(16).hex(), "weak"),
        ("a" * 64, "weak"),
        (":!" * 40, "weak"),
        ("", "malformed"),
        ("two words " * 10, "malformed"),
        ("line\nbreak" * 10, "malformed"),
        ("x" * 1025, "malformed"),
        (f"{CANARY} {CANARY}", "malformed"),
        (CANARY, "weak"),
    ],
    ids=[
        *("a word", "128 bits", "192 bits", "128 bits of hex", "one letter", "two signs", "nothing", "words", "lines"),
        *("long", "a sentence with a secret", "a secret"),
    ],
)
def test_what_is_no_key_is_refused_with_what_would_be_one_and_is_not_repeated(text: str, kind: str) -> None:
    with pytest.raises(SecretFault, match="openssl rand -base64 32") as refused:
        judge_key(text, "secret/harmonyflow/jwt")
    assert refused.value.kind == kind
    assert "secret/harmonyflow/jwt" in str(refused.value)
    assert CANARY not in str(refused.value)


def test_name_of_a_key_is_the_same_everywhere_and_no_part_of_it() -> None:
    secret = base64.b64encode(bytes(range(32)))
    assert public_name(secret) == public_name(bytes(secret))
    assert public_name(secret) != public_name(secret[:-1])
    assert public_name(secret)[2:] not in secret.decode()
