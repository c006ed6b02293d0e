"""Work that nobody did, outside issuers, and a service's figures: each planted, and found by the doctor."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import insert

from syncbridge.auth.rules import IssuerRules
from syncbridge.config import Settings
from syncbridge.doctor import examine, issuers, keys
from syncbridge.doctor import service as running
from syncbridge.limits import Retention
from syncbridge.records import open_records
from syncbridge.records.revocations import KEPT_AFTER_MS
from syncbridge.records.schema import accounts, erasures, revocations
from tests.unit.doctor.test_findings import bad, only, settings

HOUR_MS = 3_600_000
STAYS_MS = Retention().leap_ms + KEPT_AFTER_MS
"""A revocation, beyond its time."""


async def records_with(found: Settings, *rows: tuple[object, dict[str, object]]) -> None:
    """Records of this program with these rows in them."""
    records = await open_records(found.records_url)
    await records.keys.ensure(time.time_ns() // 1_000_000)
    async with records.database.transaction() as connection:
        for table, row in rows:
            await connection.execute(insert(table).values(row))  # type: ignore[arg-type]
    await records.close()


def account(plan: str) -> tuple[object, dict[str, object]]:
    return accounts, {
        "id": f"acc_{plan}",
        "email": f"{plan}@example.com",
        "password_hash": "",
        "created_at": 1,
        "plan": plan,
    }


async def test_a_plan_that_is_not_configured_is_told(tmp_path: Path) -> None:
    found = settings(tmp_path)
    await records_with(found, account("standard"), account("gold"))
    only(await keys.check_records(found), "warning", "1 account with the plan `gold`, which is not configured")


async def test_an_erasure_that_does_not_end_is_told_and_one_under_way_is_not(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    found = settings(tmp_path)
    await records_with(
        found,
        (erasures, {"account": "acc_done", "requested_at": 1, "finished_at": 2}),
        (erasures, {"account": "acc_now", "requested_at": now_ms}),
    )
    findings = await keys.check_records(found)
    assert "1 erasure under way" in [finding.found for finding in findings if finding.check == "erasures"]
    late = settings(tmp_path / "late")
    await records_with(late, (erasures, {"account": "acc_late", "requested_at": now_ms - 2 * HOUR_MS}))
    only(await keys.check_records(late), "problem", "1 erasure not finished")


@pytest.mark.parametrize(("ended_ms_ago", "is_told"), [(HOUR_MS, False), (3 * HOUR_MS, True)])
async def test_what_should_be_gone_for_long_is_told(tmp_path: Path, ended_ms_ago: int, is_told: bool) -> None:
    now_ms = time.time_ns() // 1_000_000
    found = settings(tmp_path)
    row = {"subject": "token:x", "created_at": 1, "expires_at": now_ms - ended_ms_ago - STAYS_MS}
    await records_with(found, (revocations, row))
    findings = await keys.check_records(found)
    if is_told:
        only(findings, "warning", "past their time by more than 2 h: revocation 1")
    else:
        assert bad(findings) == []


FIGURES = "incidents_dropped_total {}\nretention_failures_total {}\n"


def test_figures_of_a_service_that_drops_nothing_are_well() -> None:
    assert bad(running.judge_figures(FIGURES.format("0.0", "0.0"))) == []


@pytest.mark.parametrize(
    ("dropped", "failed", "part"),
    [("7.0", "0.0", "dropped 7 incidents"), ("0.0", "2.0", "2 runs of retention did not finish")],
)
def test_a_service_that_drops_incidents_or_does_not_finish_retention_is_told(
    dropped: str, failed: str, part: str
) -> None:
    only(running.judge_figures(FIGURES.format(dropped, failed)), "warning", part)


@pytest.fixture
def key_set() -> Iterator[tuple[str, list[bytes]]]:
    """The address of an issuer's keys, and what it answers."""
    body: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body[0])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Nothing is logged."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys", body
    server.shutdown()
    server.server_close()
    thread.join()


def from_outside(folder: Path, url: str) -> Settings:
    return settings(folder, issuers=(IssuerRules("https://id.example.com", "sync", url),))


async def test_an_issuer_s_keys_are_fetched_and_judged(tmp_path: Path, key_set: tuple[str, list[bytes]]) -> None:
    url, body = key_set
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    row = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(public)) | {"kid": "one"}
    body.append(json.dumps({"keys": [row]}).encode())
    (finding,) = await issuers.check_issuers(from_outside(tmp_path, url))
    assert (finding.severity, finding.found) == ("ok", "https://id.example.com: 1 usable keys")
    body[0] = json.dumps({"keys": [{**row, "use": "enc"}]}).encode()
    only(await issuers.check_issuers(from_outside(tmp_path, url)), "problem", "no keys from")


async def test_an_issuer_is_asked_only_when_that_is_asked_for(tmp_path: Path) -> None:
    found = from_outside(tmp_path, "http://127.0.0.1:9/keys")
    assert not [finding for finding in await examine(found) if finding.check == "issuers"]
    told = [finding for finding in await examine(found, asks_issuers=True) if finding.check == "issuers"]
    only(told, "problem", "no keys from http://127.0.0.1:9/keys")
