"""The service's own parts over the data directory, for a command, while no service runs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncbridge.adapters.embedded.directory import CannotOpen, InUse
from syncbridge.app import Service
from syncbridge.cli.failures import Failed
from syncbridge.config import Settings
from syncbridge.telemetry import configure_logging


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """A service that listens to nobody. Raises InUse where one runs, Failed where the directory cannot be opened."""
    configure_logging(settings.log_level, settings.log_format)
    try:
        async with Service.opened(settings) as service:
            yield service
    except InUse:
        raise
    except CannotOpen as refusal:
        raise Failed(str(refusal)) from refusal
