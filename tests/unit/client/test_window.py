"""How many pushes are on the wire: as many as may be, until the service says that it was too fast."""

from __future__ import annotations

from syncbridge.client.window import Window


def test_window_is_no_bound_until_something_was_refused() -> None:
    window = Window()
    window.acked(8)
    assert window.size(8) == 8


def test_after_a_refusal_one_is_sent_and_each_whole_window_makes_it_one_wider() -> None:
    window = Window()
    window.refused()
    sizes = []
    for _ in range(10):
        sizes.append(window.size(64))
        window.acked(64)
    assert sizes == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    window.refused()
    assert window.size(64) == 1


def test_window_that_has_grown_to_the_most_is_no_bound_again() -> None:
    window = Window()
    window.refused()
    for _ in range(3):
        window.acked(3)
    assert [window.size(3), window.size(64)] == [3, 64]
