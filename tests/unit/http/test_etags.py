"""Conditions of requests."""

import pytest
from fastapi import Request

from syncbridge.core.effects import StateView
from syncbridge.errors import BadMessage, PreconditionFailed
from syncbridge.http.etags import etag, expected_version, is_unchanged

VIEW = StateView("e1", 7, "active", 1, None, 1, "h", {}, 2)


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


def test_tag_is_the_position_in_quotes() -> None:
    assert etag(VIEW) == '"e1.7"'


@pytest.mark.parametrize(("given", "expected"), [("*", None), ('"e1.7"', 7), ('"e0.1", "e1.7"', 7)])
def test_if_match_names_the_version_to_find(given: str, expected: int | None) -> None:
    assert expected_version(request(if_match=given), VIEW) == expected


@pytest.mark.parametrize("given", ['"e1.6"', '"e2.7"', 'W/"e1.7"', '""'])
def test_tag_of_another_position_or_epoch_or_a_weak_one_fails(given: str) -> None:
    with pytest.raises(PreconditionFailed):
        expected_version(request(if_match=given), VIEW)


@pytest.mark.parametrize("given", ["e1.7", '"e1.7', '"a" "b"', "7"])
def test_what_is_no_tag_is_said_to_be_none(given: str) -> None:
    with pytest.raises(BadMessage):
        expected_version(request(if_match=given), VIEW)


@pytest.mark.parametrize(("given", "unchanged"), [('"e1.7"', True), ('W/"e1.7"', True), ("*", True), ('"e1.8"', False)])
def test_if_none_match_counts_weak_tags(given: str, unchanged: bool) -> None:
    assert is_unchanged(request(if_none_match=given), VIEW) is unchanged


def test_write_that_excludes_the_state_of_now_fails() -> None:
    with pytest.raises(PreconditionFailed):
        expected_version(request(if_none_match="*"), VIEW)
