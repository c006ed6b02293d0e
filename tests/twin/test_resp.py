"""Commands of RESP, as Redis reads them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.cores import CORES, each_core

# What lies on both sides of each further digit of a length.
LENGTHS = [0, 1, 9, 10, 99, 100, 999, 1_000, 99_999, 100_000]


@each_core
def test_a_command_is_the_array_of_its_words(core: ModuleType) -> None:
    assert core.pack_command([b"SET", b"k", b""]) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"


@each_core
@pytest.mark.parametrize("length", LENGTHS)
def test_words_of_every_length_and_number_arrive_whole(core: ModuleType, length: int) -> None:
    for words in ([b"w" * length], [b"w"] * length or [b""]):
        reader = hiredis.Reader()
        reader.feed(core.pack_command(words))
        assert reader.gets() == words
        assert reader.gets() is False


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_both_cores_and_the_library_pack_the_same(words: list[bytes]) -> None:
    library = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # its face says tuples of one
    assert [core.pack_command(words) for core in CORES] == [library] * len(CORES)
    assert [core.pack_command(tuple(words)) for core in CORES] == [library] * len(CORES)


@each_core
@pytest.mark.parametrize("wrong", ["text", 1, None, bytearray(b"x"), memoryview(b"x")])
def test_what_is_no_bytes_is_refused(core: ModuleType, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"is bytes, not {type(wrong).__name__}"):
        core.pack_command([b"SET", wrong])


@each_core
def test_a_command_without_a_word_is_refused(core: ModuleType) -> None:
    with pytest.raises(ValueError, match="a word at least"):
        core.pack_command([])
