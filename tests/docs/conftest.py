"""The real service, as the client's tests have it."""

from tests.integration.client.conftest import account, stack

__all__ = ["account", "stack"]
