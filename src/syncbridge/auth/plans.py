"""The plans of the configuration by name, and what stands in for a name that is not among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from syncbridge.errors import ValidationFailed
from syncbridge.limits import SHIPPED_PLANS, Plan

UNKNOWN_NAMES_MAX: Final = 100
"""Names that are remembered as told; past that, a fault that fills the log is worse than one told twice is good."""

_log = structlog.get_logger("syncbridge.auth")


class Plans:
    """Answers for every name: one that is not configured (any more) means the default plan, and is told once."""

    def __init__(self, plans: Mapping[str, Plan] = SHIPPED_PLANS, default: str = "standard") -> None:
        self._plans = dict(plans)
        self._told: set[str] = set()
        self.default = default

    @property
    def names(self) -> list[str]:
        """Every plan there is."""
        return sorted(self._plans)

    def name_of(self, name: str) -> str:
        """The plan in force for an account whose record says ``name``; "" is an account that is not there."""
        if name in self._plans:
            return name
        if name and name not in self._told and len(self._told) < UNKNOWN_NAMES_MAX:
            self._told.add(name)
            _log.error(
                "an account has a plan that the configuration does not; it is treated as the default",
                plan=name,
                default=self.default,
            )
        return self.default

    def of(self, name: str) -> Plan:
        """What an account may whose record says ``name``."""
        return self._plans[self.name_of(name)]

    def devices_max(self, name: str) -> int:
        """How many devices such an account may have."""
        return self.of(name).devices_max

    def require(self, name: str) -> str:
        """The name, when it is one of a plan. Raises ValidationFailed."""
        if name not in self._plans:
            raise ValidationFailed(f"plan: expected one of {', '.join(self.names)}")
        return name
