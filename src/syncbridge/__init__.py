"""Real-time session state across devices: start on one, go on on another, lose nothing.

The compiled functions are public here and loaded at first use, so that `import syncbridge` (and with it the command
line's `--help`) stays cheap and works before the extensions are built.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syncbridge._ext import apply_patch, compile_policies, diff, merge3, merge_patch, rebase

__version__ = "0.1.0"

__all__ = ["__version__", "apply_patch", "compile_policies", "diff", "merge3", "merge_patch", "rebase"]


def __getattr__(name: str) -> Any:
    """The public function `name` of the compiled core; AttributeError for any other name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import syncbridge._ext as compiled

    value = getattr(compiled, name)
    globals()[name] = value
    return value
