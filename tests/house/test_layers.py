import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house import layers
from tests.house.files import ROOT

SOURCE = ROOT / "src"
EXTENSIONS = {path.stem for pattern in ("*.pyx", "*.pxd") for path in (ROOT / "ext").glob(pattern)}


def all_breaches() -> Iterator[str]:
    for module, file in layers.modules(SOURCE):
        yield from layers.breaches(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")


def test_every_import_is_in_the_table() -> None:
    assert list(all_breaches()) == []


def test_extensions_know_nothing_but_errors() -> None:
    found = [
        breach
        for file in sorted((ROOT / "ext").glob("*.p[xy][dx]"))
        for breach in layers.extension_breaches(file.read_text(encoding="utf-8"), file.name, EXTENSIONS)
    ]
    assert found == []


def test_importing_core_brings_in_neither_loop_nor_socket() -> None:
    every_module = "; ".join(
        f"import {module}"
        for module, _ in layers.modules(SOURCE)
        if layers.layer_of(module) in {"core", "wire", "ports"}
    )
    brought = subprocess.run(
        [sys.executable, "-c", f"{every_module}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.split()
    assert "syncbridge.core" in brought
    assert {"asyncio", "socket", "ssl", "selectors", "uvloop", "picows"}.isdisjoint(brought)


@pytest.mark.parametrize("layer", layers.LAYERS)
def test_the_table_names_only_layers_that_it_has(layer: str) -> None:
    assert layers.LAYERS[layer].ours <= layers.LAYERS.keys() - {layer}


def test_the_table_has_no_circle() -> None:
    open_ones = {name: set(layer.ours) for name, layer in layers.LAYERS.items()}
    while lowest := {name for name, ours in open_ones.items() if not ours}:
        open_ones = {name: ours - lowest for name, ours in open_ones.items() if name not in lowest}
    assert open_ones == {}


@pytest.mark.parametrize(
    ("module", "source", "told"),
    [
        ("syncbridge.core.session", "import asyncio", "core must not import asyncio"),
        ("syncbridge.core.session", "from time import monotonic", "core must not import time"),
        ("syncbridge.core.session", "def f():\n    import random", "core must not import random"),
        ("syncbridge.core.session", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import redis", "redis"),
        ("syncbridge.core.session", "from syncbridge.ports import StateStore", "core must not know ports"),
        ("syncbridge.core.session", "from syncbridge import wire", "core must not know wire"),
        ("syncbridge.core.session", "from ..net import server", "core must not know net"),
        ("syncbridge.core.session", "from .. import app", "core must not know app"),
        ("syncbridge.core.session", "from syncbridge import diff", "core must not know syncbridge"),
        ("syncbridge._twin.delta", "from syncbridge.limits import Limits", "_twin must not know limits"),
        ("syncbridge._ext.types", "import msgspec", "_ext must not import msgspec"),
        ("syncbridge.wire.codec", "import asyncio", "wire must not import asyncio"),
        ("syncbridge.wire.codec", "from syncbridge.net.outlet import Outlet", "wire must not know net"),
        ("syncbridge.ports", "from syncbridge.runtime import engine", "ports must not know runtime"),
        ("syncbridge.runtime.engine", "import picows", "runtime must not import picows"),
        ("syncbridge.runtime.engine", "import sqlalchemy.orm", "runtime must not import sqlalchemy"),
        ("syncbridge.net.server", "from syncbridge.adapters.embedded import SqliteStore", "net must not know adapters"),
        ("syncbridge.net.server", "from syncbridge.http import api", "net must not know http"),
        ("syncbridge.http.state", "import syncbridge.adapters.cluster.log", "http must not know adapters.cluster"),
        ("syncbridge.adapters.embedded.store", "from syncbridge.adapters.cluster import keys", "adapters.cluster"),
        ("syncbridge.adapters.cluster.log.store", "from syncbridge.http import problem", "must not know http"),
        ("syncbridge.client.replica", "from syncbridge.runtime.engine import Engine", "client must not know runtime"),
        ("syncbridge.client.replica", "import fastapi", "client must not import fastapi"),
        ("syncbridge.records.accounts", "from syncbridge.config import Settings", "records must not know config"),
        ("syncbridge.errors", "import msgspec", "errors must not import msgspec"),
        ("syncbridge.stuff", "", "belongs to no layer"),
    ],
)
def test_a_breach_is_told(module: str, source: str, told: str) -> None:
    (breach,) = layers.breaches(source, module)
    assert told in breach


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("syncbridge.core.session", "import msgspec\nfrom syncbridge._ext import diff\nfrom .ids import DeviceId"),
        ("syncbridge.core", "from .ids import DeviceId"),
        ("syncbridge.net.server", "import picows, uvloop\nfrom syncbridge.wire.codec import encode"),
        ("syncbridge.app", "from syncbridge.adapters.embedded import SqliteStore\nfrom syncbridge.net import server"),
        ("syncbridge.cli", "from syncbridge import __version__"),
    ],
)
def test_what_the_table_allows_is_not_told(module: str, source: str) -> None:
    assert list(layers.breaches(source, module, is_package=module == "syncbridge.core")) == []


@pytest.mark.parametrize(
    "line", ["import os", "from syncbridge.core import ids", "import numpy", "cimport numpy", "import socket"]
)
def test_an_extension_that_looks_outside_is_told(line: str) -> None:
    assert len(list(layers.extension_breaches(f"# x\n{line}\n", "x.pyx", {"values"}))) == 1


def test_an_extension_may_share_inline_functions_and_raise_our_errors() -> None:
    source = """
from jsonkind cimport kind_of
from syncbridge.errors import PatchError
from libc.math cimport isnan
import json
"""
    assert list(layers.extension_breaches(source, "x.pyx", {"jsonkind"})) == []
