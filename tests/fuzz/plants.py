"""Faults that fuzzing has to find: a run that finds none of them has searched nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from syncbridge import _ext
from syncbridge.http import strict
from syncbridge.wire import codec


def _undocumented() -> None:
    """A frame with an escape in it that is JSON raises what nobody documents."""

    def refuse(frame: bytes) -> None:
        raise KeyError("planted")

    codec.refuse_nul = refuse


def _differs() -> None:
    """The compiled `move` leaves the source where it was, when it is in a list."""
    real = _ext.apply_patch

    def apply(doc: Any, ops: Any, **bounds: Any) -> Any:
        if isinstance(ops, list) and any(isinstance(op, dict) and op.get("op") == "move" for op in ops):
            ops = [{**op, "op": "copy"} if isinstance(op, dict) and op.get("op") == "move" else op for op in ops]
        return real(doc, ops, **bounds)

    _ext.apply_patch = apply


def _nan() -> None:
    """Numbers are not judged any more."""
    vars(strict)["check"] = lambda *args, **more: None


PLANTS: Final[dict[str, Callable[[], None]]] = {"undocumented": _undocumented, "differs": _differs, "nan": _nan}
