"""Fills in what is heard: ``python -m tests.vectors.record FILE...`` plays transcripts and writes them back.

What it writes is to be read before it is committed: a transcript is a promise, not a photograph.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.vectors.transcript import Play


def layout(transcript: dict[str, Any]) -> str:
    """The transcript as it is kept: a step a line, and under it a line for everything that is heard."""
    lines = ["{"]
    for key, value in transcript.items():
        if key != "steps":
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)},")
    lines.append('  "steps": [')
    steps = []
    for step in transcript["steps"]:
        hears = step.get("hears")
        text = json.dumps({key: value for key, value in step.items() if key != "hears"})
        if hears:
            heard = []
            for device, messages in hears.items():
                inner = ",\n".join(f"        {json.dumps(message)}" for message in messages)
                heard.append(f"      {json.dumps(device)}: [\n{inner}\n      ]")
            text = text[:-1] + ', "hears": {\n' + ",\n".join(heard) + "\n    }}"
        steps.append(f"    {text}")
    return "\n".join([*lines, ",\n".join(steps), "  ]", "}"]) + "\n"


def recorded(transcript: dict[str, Any]) -> dict[str, Any]:
    """The transcript with what is heard at each step, and how the log ends."""
    play = Play(transcript)
    steps = []
    for step in transcript["steps"]:
        bare = {key: value for key, value in step.items() if key != "hears"}
        hears = play.perform(bare)
        steps.append({**bare, "hears": hears} if hears else bare)
    rest = {key: value for key, value in transcript.items() if key not in ("steps", "ends")}
    return {**rest, "ends": play.ends(), "steps": steps}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(layout(recorded(json.loads(path.read_text("utf-8")))), encoding="utf-8")
