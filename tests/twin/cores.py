"""The two forms of the core under one name, so that one suite holds both."""

from __future__ import annotations

from types import ModuleType

import pytest

import syncbridge._ext as compiled
import syncbridge._twin as twin

CORES: list[ModuleType] = [compiled, twin]

each_core = pytest.mark.parametrize("core", CORES, ids=["compiled", "twin"])
