"""What is due is asked once, in turns and with calls that are bounded."""

from collections.abc import Callable

from syncbridge.adapters.cluster.mesh.due import Due, Rank


class Loop:
    """`call_soon` whose turns are run by hand."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, run: Callable[[], None]) -> None:
        self.waiting.append(run)

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for run in waiting:
            run()


def test_what_is_wanted_twice_is_asked_once_and_by_rank() -> None:
    loop = Loop()
    asked: list[str] = []
    due = Due(10, 10, loop)
    due.want(Rank.LOOK, "a", lambda: asked.append("look a"))
    due.want(Rank.SAY, "b", lambda: asked.append("say b"))
    due.want(Rank.LOOK, "a", lambda: asked.append("look a"))
    assert asked == []
    loop.turn()
    assert asked == ["say b", "look a"]
    assert not loop.waiting


def test_a_turn_asks_only_so_much_and_the_next_goes_on() -> None:
    loop = Loop()
    asked: list[int] = []
    due = Due(3, 100, loop)
    for number in range(7):
        due.want(Rank.LOOK, number, lambda number=number: asked.append(number))  # type: ignore[misc]
    lengths = []
    while loop.waiting:
        loop.turn()
        lengths.append(len(asked))
    assert lengths == [3, 6, 7]


def test_beyond_the_calls_that_may_be_open_what_is_due_waits_for_an_answer() -> None:
    loop = Loop()
    asked: list[int] = []

    def ask(number: int) -> Callable[[], None]:
        def begin() -> None:
            due.opened()
            asked.append(number)

        return begin

    due = Due(10, 2, loop)
    for number in range(3):
        due.want(Rank.SAY, number, ask(number))
    loop.turn()
    assert asked == [0, 1]
    assert due.is_full
    assert not loop.waiting
    due.answered()
    loop.turn()
    assert asked == [0, 1, 2]
    assert len(due) == 0


def test_what_failed_waits_for_the_retry_and_not_for_the_next_turn() -> None:
    loop = Loop()
    asked: list[str] = []
    due = Due(10, 10, loop)
    due.want_later(Rank.SAY, "a", lambda: asked.append("a"))
    assert not loop.waiting
    due.retry()
    loop.turn()
    assert asked == ["a"]
    due.retry()
    loop.turn()
    assert asked == ["a"]


def test_what_is_dropped_is_not_asked() -> None:
    loop = Loop()
    due = Due(10, 10, loop)
    due.want(Rank.SAY, "a", lambda: None)
    due.want_later(Rank.LOOK, "a", lambda: None)
    due.drop("a")
    assert len(due) == 0
