"""The few REST calls of the demonstration, by the standard library, each in a thread."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from syncbridge.client import Device
from syncbridge.errors import ClientFault, SyncBridgeError, Unavailable, by_code

TIMEOUT_S = 10.0


class Rest:
    """A service's REST side. Every call raises a `SyncBridgeError`: the service's own, or Unavailable."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self.token = token

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/v1/ws"

    async def is_ready(self) -> bool:
        """The service takes requests."""
        try:
            await self.call("GET", "/health/ready")
        except SyncBridgeError:
            return False
        return True

    async def create_account(self, email: str, password: str) -> str:
        """The account exists; answers with an access token of it."""
        token: str = (await self.call("POST", "/v1/accounts", {"email": email, "password": password}))["access_token"]
        return token

    async def create_session(self, kind: str, title: str) -> str:
        session: str = (await self.call("POST", "/v1/sessions", {"type": kind, "title": title}))["id"]
        return session

    async def session(self, session: str) -> dict[str, Any]:
        """The session as the service shows it: status, position, fence, hash."""
        return await self.call("GET", f"/v1/sessions/{session}")

    async def state(self, session: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/sessions/{session}/state")

    async def pairing_code(self, session: str) -> str:
        """A one-time code for one new device in the session."""
        code: str = (await self.call("POST", f"/v1/sessions/{session}/pairing-codes"))["code"]
        return code

    async def redeem(self, code: str, device: Device) -> str:
        """The device is registered; answers with its token, which reaches the code's session alone."""
        shown = {"id": device.id, "name": device.name, "platform": device.platform}
        token: str = (await self.call("POST", "/v1/pairing-codes/redeem", {"code": code, "device": shown}))[
            "access_token"
        ]
        return token

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._call, method, path, body)

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310  # checked: http
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                text = response.read()
        except urllib.error.HTTPError as error:
            raise _fault_in(error) from error
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self.url} does not answer: {error}") from error
        answer: dict[str, Any] = json.loads(text) if text else {}
        return answer


def _fault_in(error: urllib.error.HTTPError) -> SyncBridgeError:
    """The problem (RFC 9457) that the service told."""
    try:
        told = json.loads(error.read())
        code, detail = str(told.get("code", "")), str(told.get("detail") or told.get("title") or error.reason)
    except (OSError, ValueError, AttributeError):
        code, detail = "", str(error.reason)
    if error.code >= 500:
        return Unavailable(f"HTTP {error.code}: {detail}")
    return by_code().get(code, ClientFault)(detail)
