"""Builds every `ext/*.pyx` as `syncbridge._ext.<name>`; all else stands in pyproject.toml.

Two switches of the environment choose the flavour of the build:

SYNCBRIDGE_DEBUG=1     every check on, also where a function turned one off; overflow and None checks; -O1 with symbols.
SYNCBRIDGE_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer; load libasan first (`make sanitize` does).

With CI=true a warning of Cython or of the C compiler about our code ends the build.
"""

import os
import re
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

EXT = Path("ext")
IS_DEBUG = os.environ.get("SYNCBRIDGE_DEBUG") == "1"
IS_SANITIZED = os.environ.get("SYNCBRIDGE_SANITIZE") == "1"
IS_CI = os.environ.get("CI") == "true"

# Each flavour has its own folder of generated C, so that a change of flavour never reuses the other's.
FLAVOUR = ("debug" if IS_DEBUG else "release") + ("-sanitize" if IS_SANITIZED else "")
BUILD = Path("build") / FLAVOUR

# Checks that a function may have turned off beside the assertion that makes it safe. `wraparound` is not among them:
# turning it on again would accept an index that the function means to refuse.
TURNED_OFF = re.compile(r"\b(boundscheck|initializedcheck|nonecheck)(\s*[(=]\s*)False\b")

# What Cython's generated C cannot avoid: helpers that a module does not use, and the signatures of the C API.
UNAVOIDABLE = ["unused-function", "unused-parameter", "missing-field-initializers", "cast-function-type"]


def sources() -> list[Path]:
    """The .pyx files to compile; in a debug build copies of them in which every check is on."""
    originals = sorted(EXT.glob("*.pyx"))
    if not IS_DEBUG:
        return originals
    copies = BUILD / "checked"
    copies.mkdir(parents=True, exist_ok=True)
    for source in [*originals, *EXT.glob("*.px[di]")]:
        checked = TURNED_OFF.sub(r"\1\2True", source.read_text(encoding="utf-8"))
        copy = copies / source.name
        if not copy.is_file() or copy.read_text(encoding="utf-8") != checked:
            copy.write_text(checked, encoding="utf-8")
    return [copies / source.name for source in originals]


def compile_args() -> list[str]:
    """Flags for the C compiler in this flavour."""
    args = ["-std=c11", "-Wall", "-Wextra", *(f"-Wno-{name}" for name in UNAVOIDABLE)]
    args += ["-O1", "-g", "-UNDEBUG"] if IS_DEBUG or IS_SANITIZED else ["-O3", "-g0"]
    if IS_SANITIZED:
        args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    if IS_CI:
        args.append("-Werror")
    return args


def extensions() -> list[Extension]:
    """One extension a .pyx; each depends on all .pxd and .pxi: a stale inline function is worse than a slow build."""
    shared = sorted(str(path) for path in EXT.glob("*.px[di]"))
    return [
        Extension(
            f"syncbridge._ext.{source.stem}",
            [str(source)],
            depends=shared,
            extra_compile_args=compile_args(),
            extra_link_args=["-fsanitize=address,undefined"] if IS_SANITIZED else [],
        )
        for source in sources()
    ]


Options.warning_errors = IS_CI
modules = extensions()
setup(
    ext_modules=cythonize(
        modules,
        build_dir=str(BUILD / "c"),
        include_path=[str(BUILD / "checked" if IS_DEBUG else EXT)],
        annotate=IS_DEBUG,
        compiler_directives={
            "language_level": "3",
            "binding": True,
            "embedsignature": True,
            "freethreading_compatible": False,
            **({"overflowcheck": True, "nonecheck": True} if IS_DEBUG else {}),
        },
    )
    if modules
    else [],
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
