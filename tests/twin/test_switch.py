"""The one switch between the compiled core and its twin."""

from __future__ import annotations

import os
import subprocess
import sys

import syncbridge._ext as compiled
import syncbridge._twin as twin

NAMES = sorted(set(twin.__all__))


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("SYNCBRIDGE_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**env, **environment}, check=False
    )


def test_both_forms_have_the_same_names() -> None:
    assert all(hasattr(compiled, name) for name in NAMES)
    assert {name for name in NAMES if callable(getattr(twin, name))} <= set(compiled.__all__)
    for name in ("DEPTH_MAX", "DEPTH_LIMIT", "INTEGER_MAX"):
        assert getattr(compiled, name) == getattr(twin, name)


def test_compiled_is_the_default() -> None:
    ran = _python("import syncbridge._ext as e; print(e.IS_COMPILED, e.diff.__class__.__name__)")
    assert ran.stdout.split() == ["True", "cython_function_or_method"]
    assert ran.stderr == ""


def test_the_twin_is_taken_only_when_asked_and_says_so() -> None:
    ran = _python("import syncbridge._ext as e; print(e.IS_COMPILED, e.diff.__module__)", SYNCBRIDGE_TWIN="1")
    assert ran.stdout.split() == ["False", "syncbridge._twin.delta"]
    assert "RuntimeWarning: SYNCBRIDGE_TWIN=1" in ran.stderr


def test_a_missing_build_is_an_error_that_tells_the_command() -> None:
    ran = _python("import sys; sys.modules['syncbridge._ext.delta'] = None; import syncbridge._ext")
    assert ran.returncode != 0
    assert "the compiled core is not built" in ran.stderr
    assert "make setup" in ran.stderr
