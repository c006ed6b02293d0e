"""The real service, as the client's tests have it."""

from tests.integration.client.conftest import account, service, stack

__all__ = ["account", "service", "stack"]
