"""What the doctor found, as a terminal and as a program read it."""

from __future__ import annotations

from typing import Any

import msgspec

from syncbridge.doctor.findings import Finding
from syncbridge.story import Report
from syncbridge.story.words import moment, plain

_MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}
_WIDTH = 11


def findings_page(findings: list[Finding]) -> str:
    """One line a finding; below what is not well, what it means and what mends it."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.severity]}  {finding.check:<{_WIDTH}}  {plain(finding.found)}")
        if finding.severity != "ok":
            indent = " " * (len("WARNING") + 2 + _WIDTH + 2)
            lines.append(f"{indent}{finding.meaning}")
            lines.append(f"{indent}-> {finding.remedy}")
    counts = {name: sum(finding.severity == name for finding in findings) for name in _MARKS}
    lines.append("")
    graver = (f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if name != "ok")
    lines.append(f"{counts['ok']} ok, {', '.join(graver)}")
    return "\n".join(lines)


def findings_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """The findings as they are."""
    return [msgspec.to_builtins(finding) for finding in findings]


def story_page(report: Report) -> str:
    """The verdict, its causes, and the timeline. Nothing in it moves a cursor, wherever it was read."""
    lines = [plain(report.verdict.sentence), *report.notes]
    if report.verdict.causes:
        lines += ["", "Causes"]
        lines += [f"  {cause.weight:<5}  {moment(cause.at)}  {plain(cause.text)}" for cause in report.verdict.causes]
    lines += ["", "Timeline"]
    for one in report.timeline:
        version = f"v{one.version}" if one.version else ""
        lines.append(f"  {moment(one.at)}  {version:<7} {one.what:<8} {plain(one.device) or '-':<16} {plain(one.text)}")
    return "\n".join(lines)


def story_json(report: Report) -> dict[str, Any]:
    """The same as one object; every member is there."""
    verdict = report.verdict
    return {
        "session": report.session,
        "verdict": {
            "is_lost": verdict.is_lost,
            "sentence": verdict.sentence,
            "causes": [msgspec.structs.asdict(cause) for cause in verdict.causes],
        },
        "notes": report.notes,
        "timeline": [msgspec.structs.asdict(one) for one in report.timeline],
    }
