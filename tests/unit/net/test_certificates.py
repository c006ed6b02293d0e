"""What is told of a certificate, and what of files that hold none."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from syncbridge.net.options import TlsFiles
from syncbridge.net.tls import Certificate, read_certificate

DAY_MS = 86_400_000


def test_names_and_dates_are_those_of_the_first_certificate_of_the_chain(tmp_path: Path) -> None:
    authority = trustme.CA()
    ends = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
    issued = authority.issue_cert("app.example.com", "127.0.0.1", not_after=ends)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issued.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    found = read_certificate(TlsFiles(chain))
    assert found.names == ("app.example.com", "127.0.0.1")
    assert found.not_after_ms == int(ends.timestamp() * 1000)
    assert found.not_before_ms < found.not_after_ms
    assert found.serial_number > 0


@pytest.mark.parametrize(("now_ms", "is_good"), [(-1, False), (0, True), (DAY_MS, True), (DAY_MS + 1, False)])
def test_certificate_is_in_force_between_its_dates(now_ms: int, is_good: bool) -> None:
    assert Certificate(("a",), 0, DAY_MS, 1).is_in_force(now_ms) is is_good


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"], ids=repr)
def test_file_without_a_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(content)
    with pytest.raises(OSError, match=re.escape(str(chain))):
        read_certificate(TlsFiles(chain))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pem"):
        read_certificate(TlsFiles(tmp_path / "absent.pem"))
