"""A patch, or the state that it leads to, cannot be."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class PatchError(ClientFault):
    """A JSON Patch cannot be applied; the document is untouched.

    ``index`` is the op's place in the list (None when the list itself is wrong), ``pointer`` the RFC 6901
    pointer it was about, ``reason`` the sentence without either.
    """

    code = "bad_patch"
    http_status = 422
    meaning = "The patch cannot be applied; the op, its pointer and the reason are named."

    def __init__(self, reason: str = "", index: int | None = None, pointer: str | None = None) -> None:
        self.reason = reason or self.meaning
        self.index = index
        self.pointer = pointer
        where = "" if index is None else f"op {index}"
        if pointer is not None:
            where += f"{' ' if where else ''}at {pointer[:200]!r}"
        super().__init__(f"{where}: {self.reason}" if where else self.reason)


class PatchTestFailed(PatchError):
    code = "patch_test_failed"
    http_status = 409
    retry = "resync"
    meaning = "A `test` op found another value; nothing was applied."


class DepthExceeded(ClientFault):
    code = "depth_exceeded"
    http_status = 422
    meaning = "The value is nested deeper than the limit."


class StateTooLarge(ClientFault):
    code = "state_too_large"
    http_status = 413
    meaning = "The state would be larger than the limit; nothing was applied."


class PolicyError(ClientFault):
    """A merge policy table is wrong; raised when it is compiled, never while merging."""

    code = "bad_policy"
    http_status = 422
    meaning = "The merge policy table names an unknown policy or a bad path."
