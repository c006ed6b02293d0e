"""The compiled core's functions in slow, obvious Python: what people read, and what the tests hold it to.

Never a silent fallback: ``syncbridge._ext`` takes it only when ``SYNCBRIDGE_TWIN=1`` says so, and says it loudly.
"""

from __future__ import annotations

from syncbridge._twin.delta import apply_measured, apply_patch, diff, merge_patch
from syncbridge._twin.merge import Merged, Rebased, merge3, rebase
from syncbridge._twin.pointer import join_pointer, resolve, split_pointer
from syncbridge._twin.policies import compile_policies
from syncbridge._twin.resp import pack_command
from syncbridge._twin.values import DEPTH_LIMIT, DEPTH_MAX, INTEGER_MAX, canonical, check, equal, measure
from syncbridge._twin.version import compare_position, fence_verdict, judge_seq, judge_version

__all__ = [
    "DEPTH_LIMIT",
    "DEPTH_MAX",
    "INTEGER_MAX",
    "Merged",
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
