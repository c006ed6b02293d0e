"""The server of the socket tests, with a certificate."""

from tests.wire.conftest import certificate as certificate
from tests.wire.conftest import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.wire.conftest import serve as serve
