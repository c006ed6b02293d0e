"""Two nodes behind the edge of `deploy/haproxy.cfg`, over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest

from deploy.local.haproxy import HAProxy
from deploy.local.node import Node


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Two that share nothing: which of them answered can be told."""
    made = [
        Node(tmp_path_factory.mktemp(name), name, {"SYNCBRIDGE_TRUSTED_PROXIES": "127.0.0.1"})
        for name in ("node-1", "node-2")
    ]
    with ExitStack() as stack:
        for node in made:
            stack.callback(node.process.kill)
            node.launch()
        for node in made:
            node.wait()
        yield made


@pytest.fixture(scope="module")
def edge(nodes: list[Node], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    proxy = HAProxy(tmp_path_factory.mktemp("edge"), {node.name: node.port for node in nodes})
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture
def trust(edge: HAProxy) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(edge.authority))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack
