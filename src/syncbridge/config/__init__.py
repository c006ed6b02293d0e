"""Configuration: defaults, then a TOML file, then the environment; read once, typed, frozen, and explained.

Sources, the later wins
    default      the classes below, `Limits` and `AuthRules`
    file         the TOML file named by ``--config`` or ``SYNCBRIDGE_CONFIG``
    environment  ``SYNCBRIDGE_<KEY>``, nested keys with two underscores: ``SYNCBRIDGE_LIMITS__DEVICES_MAX=2``

An unknown key is refused in both, for a misspelt limit that is silently the default is found in production.
"""

from __future__ import annotations

from syncbridge.config.settings import PREFIX, Settings
from syncbridge.config.sources import FILE_VARIABLE, OTHER_VARIABLES, ConfigError, Explained, explain, load

__all__ = [
    "FILE_VARIABLE",
    "OTHER_VARIABLES",
    "PREFIX",
    "ConfigError",
    "Explained",
    "Settings",
    "explain",
    "load",
]
