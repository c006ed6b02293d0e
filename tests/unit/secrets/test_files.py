"""Keys and passwords from files that somebody replaces, by every manner in which that is done."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from syncbridge.auth.keyring import KeyRing, states
from syncbridge.errors import Unavailable
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.files import FILE_LEAD_MS, FileCredentials, FileKeys
from syncbridge.secrets.fixed import FixedKeys
from syncbridge.secrets.schedule import Overlap
from tests.unit.auth.conftest import MovedClock

USE_MS = 960_000
OVERLAP = Overlap(60_000, USE_MS)


def key(name: str) -> str:
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def mount(folder: Path, day: str, text: str) -> Path:
    """As the kubelet does it: a folder of that day, and one link that is moved to it."""
    (folder / day).mkdir(parents=True)
    (folder / day / "JWT_SECRET").write_text(text)
    beside = folder / "..data_tmp"
    beside.symlink_to(day)
    beside.replace(folder / "..data")
    seen = folder / "JWT_SECRET"
    if not seen.is_symlink():
        seen.symlink_to("..data/JWT_SECRET")
    return seen


async def ring_of(keys: FileKeys | FixedKeys, clock: MovedClock) -> KeyRing:
    ring = KeyRing(keys, clock)
    await ring.refresh()
    return ring


async def test_link_that_moves_brings_a_key_that_signs_when_every_node_has_it(tmp_path: Path) -> None:
    clock = MovedClock()
    file = mount(tmp_path, "..1", key("one") + "\n")
    ring = await ring_of(FileKeys(file, OVERLAP, clock), clock)
    first = ring.current()
    assert first.secret == key("one").encode()
    mount(tmp_path, "..2", key("two"))
    assert await ring.refresh()
    assert ring.current() == first or ring.current().kid == first.kid
    clock.at_ms += FILE_LEAD_MS
    assert ring.current().secret == key("two").encode()
    assert ring.find(first.kid) is not None
    clock.at_ms += USE_MS
    assert ring.find(first.kid) is None
    await ring.refresh()
    assert [state for _, state in ring.states()] == ["current"]


async def test_file_that_goes_bad_leaves_the_key_in_force_and_is_told(tmp_path: Path) -> None:
    clock, file = MovedClock(), tmp_path / "jwt"
    file.write_text(key("one"))
    source = FileKeys(file, OVERLAP, clock)
    ring = await ring_of(source, clock)
    held = ring.current()
    for text, kind in (("changeme", "weak"), ("", "malformed"), (None, "missing")):
        file.unlink() if text is None else file.write_text(text)
        await ring.refresh()
        assert ring.current() == held
        assert source.standing.fault is not None
        assert source.standing.fault.kind == kind
    file.write_text(key("one"))
    await ring.refresh()
    assert source.standing.fault is None


async def test_without_any_key_there_is_a_sentence_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="none-there cannot be read: No such file"):
        await FileKeys(tmp_path / "none-there", OVERLAP, MovedClock()).read()


async def test_elder_in_the_same_file_signs_until_the_first_is_known_everywhere(tmp_path: Path) -> None:
    clock, file = MovedClock(), tmp_path / "jwt"
    file.write_text(f"{key('two')}\n{key('one')}\n")
    ring = await ring_of(FileKeys(file, OVERLAP, clock), clock)
    assert ring.current().secret == key("one").encode()
    clock.at_ms += FILE_LEAD_MS
    assert ring.current().secret == key("two").encode()
    assert {key.retired_at for key, _ in ring.states()} == {None}  # as long as it is in the file it is taken


async def test_key_that_was_taken_back_signs_again(tmp_path: Path) -> None:
    clock, file = MovedClock(), tmp_path / "jwt"
    file.write_text(key("one"))
    source = FileKeys(file, OVERLAP, clock)
    ring = await ring_of(source, clock)
    file.write_text(key("two"))
    await ring.refresh()
    clock.at_ms += FILE_LEAD_MS
    file.write_text(key("one"))
    await ring.refresh()
    clock.at_ms += FILE_LEAD_MS
    assert ring.current().secret == key("one").encode()
    clock.at_ms += USE_MS
    assert [state for _, state in states(await source.read(), clock.at_ms)] == ["current"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("\n".join(key(str(n)) for n in range(9)), "malformed"), ("x" * 20_000, "malformed"), ("\xff", "malformed")],
    ids=["nine keys", "long", "no UTF-8"],
)
async def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    file = tmp_path / "jwt"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SecretFault) as refused:
        FileKeys(file, OVERLAP, MovedClock()).look()
    assert refused.value.kind == kind


async def test_first_key_of_a_text_signs_and_the_others_are_taken() -> None:
    clock = MovedClock()
    ring = await ring_of(FixedKeys(f"{key('two')}\n{key('one')}", "JWT_SECRET", clock), clock)
    assert ring.current().secret == key("two").encode()
    assert [state for _, state in ring.states()] == ["current", "previous"]


async def test_same_key_has_the_same_name_in_a_file_and_in_a_text(tmp_path: Path) -> None:
    clock, file = MovedClock(), tmp_path / "jwt"
    file.write_text(key("one"))
    from_file = await FileKeys(file, OVERLAP, clock).read()
    from_text = await FixedKeys(key("one"), "JWT_SECRET", clock).read()
    assert from_file[0].kid == from_text[0].kid


async def test_password_that_is_replaced_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("one\n")
    source = FileCredentials("database", "harmony", file)
    told: list[str] = []
    source.watch(lambda: told.append(source.current().password))
    await source.keep()
    file.write_text("two")
    await source.keep()
    await source.keep()
    assert told == ["two"]
    assert source.current().username == "harmony"
    assert "two" not in repr(source.current())
    file.unlink()
    with pytest.raises(SecretFault, match="password cannot be read"):
        await source.keep()
    assert source.current().password == "two"
