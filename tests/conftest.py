"""What holds for every test: reproducible properties, and no error that an event loop swallows."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import own_postgres, postgres

__all__ = ["own_postgres", "postgres"]

# The machine's load must not decide a test: no deadline. In CI the examples are the same at every run; elsewhere they
# wander, and what they find becomes an @example.
settings.register_profile("house", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true")
settings.register_profile(
    "thorough", settings.get_profile("house"), max_examples=2_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


class _Collector(logging.Handler):
    """Keeps what asyncio logs as errors: the exceptions of tasks and callbacks that nobody awaits."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def loop_errors() -> Iterator[list[str]]:
    """Errors that an event loop swallowed; a test that provokes one takes it out of the list, any left fails it."""
    collector = _Collector()
    logger = logging.getLogger("asyncio")
    logger.addHandler(collector)
    try:
        yield collector.texts
    finally:
        logger.removeHandler(collector)
    if collector.texts:
        pytest.fail("unhandled in the event loop:\n" + "\n".join(collector.texts), pytrace=False)
