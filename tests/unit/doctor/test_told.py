"""A report out of a service's answers: whole, or refused in a sentence, whatever answers."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.doctor import NoStory, told_report

VERDICT = {"is_lost": False, "sentence": "Nothing was lost.", "causes": []}
MOMENT = {"at": 5, "what": "device", "device": {"id": "tv", "name": "TV"}, "code": "left:lost", "text": "is gone"}


def page(at: int, cursor: str | None) -> dict[str, Any]:
    return {"verdict": VERDICT, "timeline": [MOMENT | {"at": at, "version": None}], "next_cursor": cursor}


def test_the_pages_become_one_timeline_oldest_first() -> None:
    asked: list[str] = []
    answers = iter([page(9, "a b"), page(7, None)])

    def get(path: str) -> Any:
        asked.append(path)
        return next(answers)

    told = told_report("ses/1", get)
    assert [(one.at, one.device, one.version) for one in told.timeline] == [(7, "tv", 0), (9, "tv", 0)]
    assert told.verdict.sentence == "Nothing was lost."
    assert asked == [f"/v1/sessions/ses%2F1/timeline?limit=100{more}" for more in ("", "&cursor=a+b")]


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, page(1, None) | {"verdict": {}}, page(1, None) | {"timeline": [{"device": None, "version": 1}]}],
)
def test_what_is_no_timeline_is_said_in_a_sentence(answer: Any) -> None:
    with pytest.raises(NoStory, match="does not tell timelines"):
        told_report("ses_1", lambda _: answer)


def test_cursors_without_end_are_not_followed_for_ever() -> None:
    with pytest.raises(NoStory, match="did not end after 100 pages"):
        told_report("ses_1", lambda _: page(1, "again"))
