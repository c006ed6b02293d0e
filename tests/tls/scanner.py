"""What a scanner of another project's making finds at a TLS port; `make test` keeps it in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "build/tls-scan/bin/python"
TIMEOUT_S = 60.0

COMMANDS = (
    *("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "elliptic_curves", "ems", "compression", "reneg"),
    *("resum", "fallback", "heartbleed", "openssl_ccs", "robot"),
)
"""All that it can look at, but for a test's own certificate, HTTP headers, and early data (none without tickets)."""

OLD_VERSIONS = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
NEW_VERSIONS = ("tls_1_2", "tls_1_3")
AEAD = ("_GCM_SHA256", "_GCM_SHA384", "_CHACHA20_POLY1305_SHA256")
SOUND = {
    ("tls_compression", "supports_compression"): False,
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"): False,
    ("heartbleed", "is_vulnerable_to_heartbleed"): False,
    ("robot", "robot_result"): "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"): False,
    ("session_renegotiation", "supports_secure_renegotiation"): True,
    ("session_resumption", "tls_ticket_resumption_result"): "NOT_SUPPORTED",
    ("tls_fallback_scsv", "supports_fallback_scsv"): True,
    ("tls_extended_master_secret", "supports_ems_extension"): True,
}

Found = dict[str, Any]  # Any: JSON


async def scan(port: int, *commands: str) -> Found:
    """What the scanner found, by the name of what it looked at."""
    assert PYTHON.exists(), "the TLS scanner is not installed: `make test` installs it"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        scanner = await asyncio.create_subprocess_exec(
            PYTHON,
            *("-W", "ignore", "-m", "sslyze", "--quiet", f"--json_out={report}", "--mozilla_config=disable"),
            *(f"--{command}" for command in commands),
            f"127.0.0.1:{port}",
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await scanner.wait()
        finally:
            if scanner.returncode is None:
                scanner.kill()
        (server,) = json.loads(report.read_text("utf-8"))["server_scan_results"]
    assert server["connectivity_status"] == "COMPLETED", server["connectivity_error_trace"]
    looked_at = {name: one for name, one in server["scan_result"].items() if one["status"] != "NOT_SCHEDULED"}
    failed = [name for name, one in looked_at.items() if one["status"] != "COMPLETED"]
    assert not failed, failed
    return {name: one["result"] for name, one in looked_at.items()}


def faults(found: Found) -> list[str]:
    """What of it is not as it has to be, in order."""
    told = [f"{version} is spoken" for version in OLD_VERSIONS if suites(found, version)]
    told += [
        f"{suite} is no AEAD suite"
        for version in NEW_VERSIONS
        for suite in suites(found, version)
        if not suite.endswith(AEAD)
    ]
    told += [f"{group} is offered" for group in groups(found) if group != "secp256r1"]
    told += [
        f"{name}: {key} is {found[name][key]}"
        for (name, key), sound in SOUND.items()
        if name in found and found[name][key] != sound
    ]
    return sorted(told)


def suites(found: Found, version: str) -> list[str]:
    """The cipher suites that were accepted."""
    accepted = found.get(f"{version}_cipher_suites", {}).get("accepted_cipher_suites", ())
    return [one["cipher_suite"]["name"] for one in accepted]


def groups(found: Found) -> list[str]:
    """The groups that were accepted for TLS 1.2; those of finite fields are not looked for."""
    return [group["name"] for group in found.get("elliptic_curves", {}).get("supported_curves", ())]
