"""schemathesis against a real service: what its OpenAPI document says is what it does.

Left out, each for a reason
    positive_data_acceptance   a schema cannot say that a session must exist, a tag be the present one, a patch apply
    missing_required_header    it wants 406; a wrong header is 422 here, and `negative_data_rejection` sees to it
    allow_header_conformance   of one path the framework knows each method alone
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.catalogue.service import ServiceProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
    "object_level_authorization",
)
OPEN_GATES = {
    "LIMITS__ADDRESS_REQUEST_BURST": "1000000",
    "AUTH__LOGIN_BURST": "1000000",
    "AUTH__GUESS_BURST": "1000000",
    "AUTH__ARGON2_TIME_COST": "1",
    "AUTH__ARGON2_MEMORY_KIB": "8",
}
"""A contract is not about rates; they have tests of their own."""


def hold(folder: Path, *options: str, paths: str = "^/v1/", plants: tuple[str, ...] = ()) -> tuple[int, str]:
    """How schemathesis ended (0: the contract holds), and everything that it and the service's log said."""
    service = ServiceProcess(folder, *plants, environment=OPEN_GATES)
    try:
        account = service.make_account("contract", ("phone", "tv"), 2)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"http://127.0.0.1:{service.port}/openapi.json",
            f"--header=Authorization: Bearer {account.token}",
            f"--checks={','.join(CHECKS)}",
            # Health and figures are about the process, not about anybody's data, and have tests of their own.
            f"--include-path-regex={paths}",
            # Whoever erases the account, or logs everybody out, has nothing left to ask with.
            "--exclude-name=DELETE /v1/me",
            "--exclude-path-regex=^/v1/(me/password|auth/revoke-all)$",
            "--continue-on-failure",
            "--suppress-health-check=all",
            "--no-color",
            *options,
        ]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        log = service.log_since()
        is_sound = service.is_alive and "Traceback" not in log
        return (ran.returncode if is_sound else ran.returncode or 1), ran.stdout + ran.stderr + _faults(log)
    finally:
        service.stop()


def _faults(log: str) -> str:
    at = log.find("Traceback")
    return "" if at < 0 else log[max(0, at - 500) : at + 4_000]
