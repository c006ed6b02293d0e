"""The typed face of the compiled core, and the one switch between it and its twin.

Compiled by default. When the compiled modules are missing the import fails and says how to build them: a service
that is quietly twenty times slower is broken. ``SYNCBRIDGE_TWIN=1`` takes the pure Python twin instead, with a
warning; it is for reading a bug in plain code, never for serving.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from syncbridge._ext.types import Committed, Conflict, Json, JsonObject, Op, Policies

if TYPE_CHECKING or os.environ.get("SYNCBRIDGE_TWIN") != "1":
    try:
        from syncbridge._ext.delta import diff
        from syncbridge._ext.merge import Merged, Rebased, merge3, rebase
        from syncbridge._ext.patch import (
            apply_measured,
            apply_patch,
            join_pointer,
            merge_patch,
            resolve,
            split_pointer,
        )
        from syncbridge._ext.policies import compile_policies
        from syncbridge._ext.resp import pack_command
        from syncbridge._ext.values import DEPTH_LIMIT, DEPTH_MAX, INTEGER_MAX, canonical, check, equal, measure
        from syncbridge._ext.version import compare_position, fence_verdict, judge_seq, judge_version
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"the compiled core is not built ({missing.name} is missing): run `make setup`, or "
            "`python setup.py build_ext --inplace`; SYNCBRIDGE_TWIN=1 takes the slow pure Python twin instead"
        ) from missing
    IS_COMPILED: bool = True
else:
    from syncbridge._twin import (
        DEPTH_LIMIT,
        DEPTH_MAX,
        INTEGER_MAX,
        Merged,
        Rebased,
        apply_measured,
        apply_patch,
        canonical,
        check,
        compare_position,
        compile_policies,
        diff,
        equal,
        fence_verdict,
        join_pointer,
        judge_seq,
        judge_version,
        measure,
        merge3,
        merge_patch,
        pack_command,
        rebase,
        resolve,
        split_pointer,
    )

    warnings.warn(
        "SYNCBRIDGE_TWIN=1: the pure Python twin of the compiled core is in use; it is many times slower",
        RuntimeWarning,
        stacklevel=2,
    )
    IS_COMPILED = False

__all__ = [
    "DEPTH_LIMIT",
    "DEPTH_MAX",
    "INTEGER_MAX",
    "IS_COMPILED",
    "Committed",
    "Conflict",
    "Json",
    "JsonObject",
    "Merged",
    "Op",
    "Policies",
    "Rebased",
    "apply_measured",
    "apply_patch",
    "canonical",
    "check",
    "compare_position",
    "compile_policies",
    "diff",
    "equal",
    "fence_verdict",
    "join_pointer",
    "judge_seq",
    "judge_version",
    "measure",
    "merge3",
    "merge_patch",
    "pack_command",
    "rebase",
    "resolve",
    "split_pointer",
]
