"""Close codes: what may travel, and how a peer's close is answered."""

from __future__ import annotations

import pytest

from syncbridge.wire.close import REASON_BYTES_MAX, REASONS, CloseCode, PeerClose, may_travel, read_close

READ = {
    b"": PeerClose(None, None),
    b"\x03": PeerClose(None, 1002),
    b"\x03\xe8": PeerClose(1000, 1000),
    b"\x03\xe8bye": PeerClose(1000, 1000),
    b"\x11\x30": PeerClose(4400, 4400),
    b"\x03\xed": PeerClose(None, 1002),
    b"\x00\x00": PeerClose(None, 1002),
    b"\x03\xe8\xff": PeerClose(1000, 1007),
    b"\x03\xe8" + "é".encode()[:1]: PeerClose(1000, 1007),
}


@pytest.mark.parametrize(("payload", "verdict"), READ.items(), ids=[repr(key) for key in READ])
def test_close_is_read_and_answered_by_the_rule(payload: bytes, verdict: PeerClose) -> None:
    assert read_close(payload) == verdict


def test_exactly_the_registered_and_the_private_codes_may_travel() -> None:
    travelling = {code for code in range(65536) if may_travel(code)}
    assert travelling == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


def test_every_code_we_send_may_travel_and_has_a_sentence_that_fits() -> None:
    assert set(REASONS) == set(CloseCode)
    for code, reason in REASONS.items():
        assert may_travel(code)
        assert 0 < len(reason.encode()) <= REASON_BYTES_MAX
