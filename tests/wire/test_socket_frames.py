"""Frames over real sockets: one row a case, the exact close code and sentence, and a probe client after each."""

from __future__ import annotations

import pytest

from syncbridge.wire.close import CLOSED_BY_DEVICE, REASONS, CloseCode
from tests.wire.conftest import Recorder, Serve, until
from tests.wire.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame

EURO = "€".encode()
LIMIT = 64 * 1024


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


FAULTS: dict[str, tuple[int, bytes]] = {
    # 1002: the frame itself
    **{f"reserved bit {rsv:03b}": (1002, frame(TEXT, b"x", rsv=rsv)) for rsv in range(1, 8)},
    "reserved bit on a ping": (1002, frame(PING, rsv=4)),
    "reserved bit on a close": (1002, frame(CLOSE, b"\x03\xe8", rsv=4)),
    **{f"reserved opcode {opcode:#x}": (1002, frame(opcode)) for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)},
    "unmasked text": (1002, frame(TEXT, b"x", is_masked=False)),
    "unmasked ping": (1002, frame(PING, is_masked=False)),
    "fragmented ping": (1002, frame(PING, is_final=False)),
    "fragmented pong": (1002, frame(PONG, is_final=False)),
    "fragmented close": (1002, frame(CLOSE, is_final=False)),
    "ping of 126 bytes": (1002, frame(PING, b"x" * 126)),
    "close of 126 bytes": (1002, frame(CLOSE, b"\x03\xe8" + b"x" * 124)),
    "16-bit length of 5": (1002, frame(TEXT, b"short", length=b"\xfe\x00\x05")),
    "64-bit length of 5": (1002, frame(TEXT, b"short", length=b"\xff" + bytes(7) + b"\x05")),
    "64-bit length of 65535": (1002, frame(TEXT, b"", length=b"\xff" + bytes(6) + b"\xff\xff")),
    "negative 64-bit length": (1002, frame(TEXT, b"", length=b"\xff\x80" + bytes(7))),
    # 1002: the order of frames
    "continuation of nothing": (1002, frame(CONTINUATION, b"x")),
    "last continuation of nothing": (1002, frame(CONTINUATION, b"x", is_final=True)),
    "open continuation of nothing": (1002, frame(CONTINUATION, b"x", is_final=False)),
    "text within a text": (1002, frame(TEXT, b"a", is_final=False) + frame(TEXT, b"b")),
    "fragment within a text": (1002, frame(TEXT, b"a", is_final=False) + frame(TEXT, b"b", is_final=False)),
    "binary within a text": (1002, frame(TEXT, b"a", is_final=False) + frame(BINARY, b"b")),
    # 1002: the close frame's own code
    **{
        f"close code {code}": (1002, closing(code))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close of one byte": (1002, frame(CLOSE, b"\x03")),
    # 1003
    "binary": (1003, frame(BINARY, b"x")),
    "empty binary": (1003, frame(BINARY)),
    "fragmented binary": (1003, frame(BINARY, b"x", is_final=False)),
    # 1007
    "bad utf-8": (1007, frame(TEXT, b"\xff")),
    "surrogate": (1007, frame(TEXT, b"\xed\xa0\x80")),
    "overlong": (1007, frame(TEXT, b"\xc0\xaf")),
    "beyond unicode": (1007, frame(TEXT, b"\xf4\x90\x80\x80")),
    "cut short": (1007, frame(TEXT, EURO[:2])),
    "bad utf-8 in the first fragment": (1007, frame(TEXT, b"\xff", is_final=False)),
    "bad utf-8 over two fragments": (
        1007,
        frame(TEXT, EURO[:1], is_final=False) + frame(CONTINUATION, b"\x28", is_final=False),
    ),
    "cut short in the last fragment": (1007, frame(TEXT, b"a", is_final=False) + frame(CONTINUATION, EURO[:2])),
    "bad utf-8 in a close reason": (1007, closing(1000, b"\xff")),
    # 1009
    "one byte too many": (1009, frame(TEXT, b"x" * (LIMIT + 1))),
    "a length that never comes": (1009, frame(TEXT, b"", length=b"\xff\x7f" + b"\xff" * 7)),
    "one byte too many over two fragments": (
        1009,
        frame(TEXT, b"x" * LIMIT, is_final=False) + frame(CONTINUATION, b"x"),
    ),
    "17 fragments": (1009, frame(TEXT, is_final=False) + frame(CONTINUATION, is_final=False) * 16),
    # 4429
    "ping flood": (4429, frame(PING, b"x") * 40),
    "pong flood": (4429, frame(PONG, b"x") * 40),
    "mixed flood": (4429, (frame(PING) + frame(PONG)) * 20),
}


@pytest.mark.parametrize(("code", "data"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_is_closed_with_its_code_and_the_server_goes_on(serve: Serve, code: int, data: bytes) -> None:
    served = await serve(close_timeout_ms=500)
    async with await RawClient.upgraded(served.port) as client:
        client.send(data)
        answer = await client.frame()
        while answer.opcode == PONG:
            answer = await client.frame()
        assert (answer.opcode, answer.close_code, answer.close_reason) == (CLOSE, code, REASONS[code])
        assert await client.rest() == b""
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes == [(code, REASONS[code])]
    assert served.last.texts == []
    await served.assert_alive()


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize(("code", "data"), FAULTS.values(), ids=FAULTS.keys())
async def test_good_message_before_a_fault_is_answered_however_the_stream_is_cut(
    serve: Serve, code: int, data: bytes, pieces: str
) -> None:
    served = await serve(close_timeout_ms=500)
    stream = frame(TEXT, b"good") + data
    async with await RawClient.upgraded(served.port) as client:
        for piece in [stream] if pieces == "whole" or len(stream) > 2_000 else [bytes((byte,)) for byte in stream]:
            client.send(piece)
            await client.writer.drain()
        assert (await client.frame()).payload == b"good"
        answer = await client.frame()
        while answer.opcode == PONG:
            answer = await client.frame()
        assert (answer.opcode, answer.close_code) == (CLOSE, code)


GOOD = {
    "empty": (frame(TEXT), b""),
    "125 bytes": (frame(TEXT, b"x" * 125), b"x" * 125),
    "126 bytes": (frame(TEXT, b"x" * 126), b"x" * 126),
    "65535 bytes": (frame(TEXT, b"x" * 65535), b"x" * 65535),
    "the limit": (frame(TEXT, b"x" * LIMIT), b"x" * LIMIT),
    "not ascii": (frame(TEXT, EURO * 9), EURO * 9),
    "two fragments": (frame(TEXT, b"a", is_final=False) + frame(CONTINUATION, b"b"), b"ab"),
    "a sign over two fragments": (frame(TEXT, EURO[:1], is_final=False) + frame(CONTINUATION, EURO[1:]), EURO),
    "16 fragments": (
        frame(TEXT, b"a", is_final=False) + frame(CONTINUATION, b"b", is_final=False) * 14 + frame(CONTINUATION, b"c"),
        b"a" + b"b" * 14 + b"c",
    ),
    "the limit in fragments": (
        frame(TEXT, b"x" * (LIMIT - 1), is_final=False) + frame(CONTINUATION, b"y"),
        b"x" * (LIMIT - 1) + b"y",
    ),
    "pong unasked before": (frame(PONG, b"z") + frame(TEXT, b"a"), b"a"),
}


@pytest.mark.parametrize(("data", "text"), GOOD.values(), ids=GOOD.keys())
async def test_good_message_arrives_whole(serve: Serve, data: bytes, text: bytes) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        client.send(data)
        answer = await client.frame()
        assert (answer.opcode, answer.payload) == (TEXT, text)
        assert served.last.texts == [text]


async def test_ping_within_fragments_is_answered_before_the_message(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        client.send(frame(TEXT, b"a", is_final=False) + frame(PING, b"now") + frame(CONTINUATION, b"b"))
        assert await client.frame() == (PONG, b"now", True)
        assert await client.frame() == (TEXT, b"ab", True)


async def test_every_ping_of_a_reader_is_answered_in_order(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        client.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))
        assert [(await client.frame()).payload for _ in range(10)] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 4000, 4999])
async def test_close_is_echoed_with_its_code(serve: Serve, code: int) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        client.send(closing(code, b"bye canary") + frame(TEXT, b"too late"))
        answer = await client.frame()
        assert (answer.opcode, answer.close_code) == (CLOSE, code)
        assert b"canary" not in answer.payload
        assert await client.rest() == b""
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes == [(code, CLOSED_BY_DEVICE)]
    assert served.last.texts == []


async def test_close_without_a_code_is_answered_without_one(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        client.send(frame(CLOSE))
        assert await client.frame() == (CLOSE, b"", True)
        assert await client.rest() == b""
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes == [(None, CLOSED_BY_DEVICE)]


async def test_connection_that_breaks_is_told_once_without_a_code(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("a") == "a"
    await until(lambda: served.last.closed.is_set())
    assert served.last.closes == [(None, "The connection was lost.")]


async def test_close_by_the_handler_waits_for_the_answer_and_ignores_messages(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("a") == "a"
        assert served.last.outlet is not None
        served.last.outlet.send(b"last words")
        served.last.outlet.close(CloseCode.UNAUTHENTICATED)
        assert not served.last.outlet.send(b"too late")
        assert (await client.frame()).payload == b"last words"
        answer = await client.frame()
        assert (answer.close_code, answer.close_reason) == (4401, REASONS[4401])
        client.send(frame(TEXT, b"still talking"))
        client.send(closing(4401))
        assert await client.rest() == b""
    await until(lambda: served.last.closed.is_set())
    assert served.last.texts == [b"a"]
    assert served.last.closes == [(4401, REASONS[4401])]


async def test_peer_that_never_answers_a_close_is_aborted_in_time(serve: Serve) -> None:
    served = await serve(close_timeout_ms=60)
    async with await RawClient.upgraded(served.port) as client:
        assert await client.echo("a") == "a"
        assert served.last.outlet is not None
        served.last.outlet.close(CloseCode.FORBIDDEN)
        assert (await client.frame()).close_code == 4403
        await until(lambda: served.last.closed.is_set())
        assert await client.rest() == b""


async def test_peer_that_stays_after_its_fault_is_aborted_in_time(serve: Serve) -> None:
    served = await serve(close_timeout_ms=60)
    async with await RawClient.upgraded(served.port) as client:
        client.send(frame(BINARY))
        assert (await client.frame()).close_code == 1003
        for _ in range(100):
            client.send(frame(TEXT, b"x" * 1_000))
        await until(lambda: served.last.closed.is_set())
    assert served.last.texts == []


@pytest.mark.parametrize("moment", ["on_open", "on_text", "on_heard", "on_close"])
async def test_crash_in_a_handler_closes_its_socket_alone_and_says_nothing_of_it(
    serve: Serve, moment: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(self: Recorder, *_: object) -> None:
        self.closed.set()
        raise RuntimeError("canary-5150")

    served = await serve()
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, moment, crash)
        async with await RawClient.upgraded(served.port) as client:
            client.send(frame(PONG) if moment == "on_heard" else frame(TEXT, b"a"))
            if moment != "on_close":
                answer = await client.frame()
                assert (answer.close_code, answer.close_reason) == (1011, REASONS[1011])
        await until(lambda: served.last.closed.is_set())
        await until(lambda: not served.server.door.sockets)
    assert "canary-5150" in caplog.text
    await served.assert_alive()
