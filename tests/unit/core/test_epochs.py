"""The names of logs: the later of two is known by its name, however often a log is lost."""

from __future__ import annotations

from syncbridge.core.epochs import generation, rebuilt


def test_each_rebuilding_has_a_name_of_its_own_that_tells_which_it_is_and_stays_short() -> None:
    first = "f" * 24 + "-1a2b3c4d5e6f7"
    epoch, names = first, [first]
    for number in range(1, 1_001):
        epoch = rebuilt(epoch, f"{number:012x}")
        assert generation(epoch) == number
        assert epoch.startswith(f"{first}.")
        names.append(epoch)
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 64, "as the protocol and the table have room for"
    assert rebuilt(first, "a") != rebuilt(first, "b")


def test_a_name_of_any_other_form_is_of_a_log_that_was_never_rebuilt() -> None:
    for epoch in ("", "e1", "e.1", "e..1", "e.1.", "e.x.1", "e.1.2.", "e.1234567890.a", "\u0661.\u0661"):
        assert generation(epoch) == 0
        assert generation(rebuilt(epoch, "a")) == 1
