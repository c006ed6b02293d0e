"""Outside issuers: whether their key sets can be fetched from here, and hold a key that may be used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from syncbridge.auth.fetching import FetchFailed, fetch
from syncbridge.auth.keysets import read_key_set
from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem
from syncbridge.story.words import plain, span

CHECK = "issuers"


async def check_issuers(settings: Settings) -> list[Finding]:
    """A finding for each; it asks the addresses of the configuration, as the service does, and none else."""
    findings = []
    with ThreadPoolExecutor(1) as executor:
        for rules in settings.issuers:
            try:
                body = await fetch(rules.jwks_url, executor, timeout_ms=settings.auth.jwks_timeout_ms)
                count = len(read_key_set(body, rules.algorithms))
            except FetchFailed as failed:
                findings.append(
                    problem(
                        CHECK,
                        f"{plain(rules.issuer)}: no keys from {plain(rules.jwks_url)}: {plain(str(failed))}",
                        f"Its people are let in by keys that are held, {span(settings.auth.jwks_stale_ms)} at most.",
                        "mend jwks_url, or what lies between here and there",
                    )
                )
            else:
                findings.append(ok(CHECK, f"{plain(rules.issuer)}: {count} usable keys"))
    return findings
