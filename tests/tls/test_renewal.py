"""A certificate is replaced under open connections, by every manner in which renewers write."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from syncbridge.net.options import TlsFiles
from syncbridge.net.renewal import CertificateKeeper
from syncbridge.net.server import Server
from syncbridge.net.tls import Identity, read_certificate
from tests.wire.conftest import Certificate, Serve, Served, until
from tests.wire.rawclient import TIMEOUT_S, RawClient

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)  # a test's certificates are of today


class Figures:
    """A `Telemetry` that keeps what it is told."""

    def __init__(self) -> None:
        self.reloads: list[str] = []
        self.not_after_s = 0.0

    def measured(self, name: str, value: float, label: str = "") -> None:
        if name == "tls_reload":
            self.reloads.append(label)
        if name == "tls_not_after_s":
            self.not_after_s = value


class Kept:
    """A server, the keeper of its certificate, and somebody who renews it."""

    def __init__(self, served: Served, files: TlsFiles, authority: trustme.CA) -> None:
        self.served = served
        self.files = files
        self.figures = Figures()
        self.authority = authority
        self.keeper = CertificateKeeper(served.server, files, self.figures, lambda: NOW_MS)

    @property
    def shown(self) -> int:
        """The serial number that new connections see."""
        identity = self.served.server.identity
        assert identity is not None
        return identity.certificate.serial_number

    def issue(self, **dates: datetime) -> tuple[bytes, bytes, int]:
        """A new certificate's chain and key as PEM, and its serial number."""
        issued = self.authority.issue_cert("127.0.0.1", **dates)  # type: ignore[arg-type]  # dates only
        chain = issued.cert_chain_pems[0].bytes()
        beside = self.files.certfile.with_suffix(".issued")
        beside.write_bytes(chain)
        return chain, issued.private_key_pem.bytes(), read_certificate(TlsFiles(beside)).serial_number

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.keeper.look()

    @property
    def keyfile(self) -> Path:
        assert self.files.keyfile is not None
        return self.files.keyfile


@pytest.fixture
async def kept(serve: Serve, certificate: Certificate) -> Kept:
    served = await serve(tls=certificate.files)
    return Kept(served, certificate.files, certificate.authority)


def over(path: Path, content: bytes) -> None:
    """The file is written where it is, as an editor does."""
    path.write_bytes(content)


def renamed(path: Path, content: bytes) -> None:
    """A new file takes the place of the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


@pytest.mark.parametrize("put", [over, renamed])
@pytest.mark.parametrize("is_key_first", [False, True], ids=["chain first", "key first"])
async def test_pair_that_is_written_in_two_steps_is_taken_up_when_it_fits(
    kept: Kept, put: Callable[[Path, bytes], None], is_key_first: bool
) -> None:
    before = kept.shown
    chain, key, serial = kept.issue()
    steps = [(kept.files.certfile, chain), (kept.keyfile, key)]
    first, second = reversed(steps) if is_key_first else steps
    put(*first)
    kept.look(5)
    assert kept.shown == before
    assert kept.figures.reloads == ["failed"], "told once, however often it is looked at"
    put(*second)
    kept.keeper.look()
    assert kept.shown == before, "not before the files stood still for a look"
    kept.keeper.look()
    assert kept.shown == serial
    assert kept.figures.reloads == ["failed", "reloaded"]
    kept.look(5)
    assert kept.figures.reloads == ["failed", "reloaded"]


async def test_folder_that_a_link_leads_to_elsewhere_is_taken_up(serve: Serve, tmp_path: Path) -> None:
    """As a Kubernetes secret is mounted: the files are links through one link, which is moved."""
    old = Certificate(tmp_path)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        for name in ("certificate.pem", "key.pem"):
            shutil.copy(tmp_path / name, folder / name)
    (tmp_path / "data").symlink_to("first")
    files = TlsFiles(tmp_path / "data/certificate.pem", tmp_path / "data/key.pem")
    kept = Kept(await serve(tls=files), files, old.authority)
    chain, key, serial = kept.issue()
    (folders[1] / "certificate.pem").write_bytes(chain)
    (folders[1] / "key.pem").write_bytes(key)
    kept.look()
    assert kept.figures.reloads == []
    (tmp_path / "moved").symlink_to("second")
    (tmp_path / "moved").replace(tmp_path / "data")
    kept.look()
    assert (kept.shown, kept.figures.reloads) == (serial, ["reloaded"])


async def test_certificate_and_key_in_one_file_are_taken_up(serve: Serve, certificate: Certificate) -> None:
    assert certificate.files.keyfile is not None
    both = TlsFiles(certificate.files.certfile.with_name("both.pem"))
    both.certfile.write_bytes(certificate.files.keyfile.read_bytes() + certificate.files.certfile.read_bytes())
    kept = Kept(await serve(tls=both), both, certificate.authority)
    chain, key, serial = kept.issue()
    renamed(both.certfile, key + chain)
    kept.look()
    assert kept.shown == serial


DAY = timedelta(days=1)
TODAY = datetime.fromtimestamp(NOW_MS / 1000, UTC)


@pytest.mark.parametrize("fault", ["half a chain", "half a key", "nothing", "gone", "over", "not yet", "a folder"])
async def test_bad_replacement_leaves_the_old_certificate_and_says_so(
    kept: Kept, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = kept.shown
    dates = {
        "over": {"not_before": TODAY - 2 * DAY, "not_after": TODAY - DAY},
        "not yet": {"not_before": TODAY + DAY, "not_after": TODAY + 2 * DAY},
    }
    chain, key, _ = kept.issue(**dates.get(fault, {}))
    kept.files.certfile.write_bytes(
        {"half a chain": chain[: len(chain) // 2], "nothing": b""}.get(fault, chain),
    )
    kept.keyfile.write_bytes(key[: len(key) // 2] if fault == "half a key" else key)
    if fault in ("gone", "a folder"):
        kept.files.certfile.unlink()
    if fault == "a folder":
        kept.files.certfile.mkdir()
    kept.look(4)
    assert (kept.shown, kept.figures.reloads) == (before, ["failed"])
    assert "the old one stays in use" in caplog.text
    kept.keeper.renew()
    assert (kept.shown, kept.figures.reloads) == (before, ["failed", "failed"]), "who asks is told again"


async def test_certificate_of_tomorrow_is_taken_up_tomorrow(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(await serve(tls=certificate.files), certificate.files, certificate.authority)
    chain, key, serial = kept.issue(not_before=TODAY + DAY, not_after=TODAY + 9 * DAY)
    kept.files.certfile.write_bytes(chain)
    kept.keyfile.write_bytes(key)
    kept.look(3)
    assert kept.shown != serial
    monkeypatch.setattr(kept.keeper, "_now_ms", lambda: NOW_MS + 2 * 86_400_000)
    kept.keeper.look()
    assert kept.shown == serial


async def test_files_that_are_replaced_while_they_are_read_are_left_for_the_next_look(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept.shown
    chain, key, serial = kept.issue()
    kept.keyfile.write_bytes(key)
    kept.files.certfile.write_bytes(chain)

    def read(files: TlsFiles) -> object:
        os.utime(files.certfile, ns=(1, 1))
        return read_certificate(files)

    with monkeypatch.context() as patch:
        patch.setattr("syncbridge.net.tls.read_certificate", read)
        kept.look()
    assert (kept.shown, kept.figures.reloads) == (before, ["failed"])
    kept.look()
    assert kept.shown == serial


async def test_end_of_the_certificate_in_force_is_told(kept: Kept) -> None:
    ends = TODAY.replace(microsecond=0) + 3 * DAY
    kept.files.certfile.write_bytes(b"broken")
    first = kept.figures.not_after_s
    kept.look()
    assert kept.figures.not_after_s == first > 0
    chain, key, _ = kept.issue(not_after=ends)
    kept.files.certfile.write_bytes(chain)
    kept.keyfile.write_bytes(key)
    kept.look()
    assert kept.figures.not_after_s == ends.timestamp()


# -- under load --------------------------------------------------------------------------------------------------


async def rotate(kept: Kept, certificate: Certificate, *, sockets: int, rotations: int) -> tuple[int, int]:
    """Sockets that did not outlive the rotations with an answer, and new connections that saw an old certificate."""
    gate = asyncio.Semaphore(50)

    async def one() -> RawClient:
        async with gate:
            return await RawClient.upgraded(kept.served.port, certificate.trust)

    clients = await asyncio.gather(*(one() for _ in range(sockets)))
    stale = 0
    for _ in range(rotations):
        chain, key, serial = kept.issue()
        renamed(kept.files.certfile, chain)
        renamed(kept.keyfile, key)
        kept.look()
        async with await RawClient.upgraded(kept.served.port, certificate.trust) as fresh:
            seen = int(fresh.writer.get_extra_info("peercert")["serialNumber"], 16)
            stale += seen != serial or await fresh.echo("new") != "new"
    answers = await asyncio.gather(*(client.echo("still here") for client in clients), return_exceptions=True)
    await asyncio.gather(*(client.__aexit__() for client in clients))
    return sum(answer != "still here" for answer in answers), stale


async def test_ten_rotations_drop_none_of_500_sockets(kept: Kept, certificate: Certificate) -> None:
    async with asyncio.timeout(TIMEOUT_S * 2):
        assert await rotate(kept, certificate, sockets=500, rotations=10) == (0, 0)
    assert kept.figures.reloads == ["reloaded"] * 10
    await until(lambda: not kept.served.server.door.sockets)


async def test_rotation_that_drops_or_does_nothing_would_be_seen(
    kept: Kept, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Server.show

    def drop(self: Server, identity: Identity) -> None:
        original(self, identity)
        for socket in tuple(self.door.sockets):
            socket.abort()

    monkeypatch.setattr(Server, "show", drop)
    assert await rotate(kept, certificate, sockets=4, rotations=2) == (4, 0)
    monkeypatch.setattr(Server, "show", lambda self, identity: None)
    assert await rotate(kept, certificate, sockets=4, rotations=2) == (0, 2)
