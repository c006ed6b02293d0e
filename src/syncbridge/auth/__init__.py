"""Who somebody is. It leans on `records` and `ports` alone; `http` and the composition root lean on it.

::

    authority = await open_authority(records, settings.auth, settings.limits, clock)
    gatekeeper = AccountGatekeeper(authority)  # the Gatekeeper port
    claims = authority.verify(token)  # no I/O
"""

from __future__ import annotations

from syncbridge.auth.access import AccessTokens, Claims
from syncbridge.auth.authority import Authority, Grant, open_authority
from syncbridge.auth.gatekeeper import AccountGatekeeper
from syncbridge.auth.plans import Plans
from syncbridge.auth.rules import AuthRules

__all__ = ["AccessTokens", "AccountGatekeeper", "AuthRules", "Authority", "Claims", "Grant", "Plans", "open_authority"]
