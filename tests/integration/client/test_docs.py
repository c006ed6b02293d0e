"""Every example of docs/client.md runs as it stands there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.integration.client.conftest import Account

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
EXAMPLES = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_has_an_example_for_every_part() -> None:
    assert PAGE.read_text().count("```python") == len(EXAMPLES) == 7


@pytest.mark.parametrize(("title", "source"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
async def test_example_runs(account: Account, tmp_path: Path, title: str, source: str) -> None:
    name = await account.make_session()
    code: CodeType = compile(source, f"{PAGE.name}: {title}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    given = {"url": account.url, "token": account.token, "name": name, "folder": tmp_path}
    running = FunctionType(code, given)()
    assert inspect.isawaitable(running)
    await running
