"""What the command line does with a person's data: in a service, or in the data directory while none runs.

A running service holds the journal, so it does the work: an erasure is written into the records, where it looks for
such; an export is asked for with a token of the operator's making.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

from syncbridge.adapters.embedded.directory import InUse
from syncbridge.cli.direct import access_token, erasure, request_erasure
from syncbridge.cli.failures import Failed
from syncbridge.cli.offline import opened
from syncbridge.cli.remote import NoService, call, download
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId
from syncbridge.records import Erasure

ERASED_WITHIN_S = 120
_LOOK_EVERY_S = 0.2
_EXPORT = "/v1/me/export"


def export_from(url: str, email: str, password: str, output: Path) -> None:
    """The file holds the person's data, from this service. Raises Failed."""
    token = _log_in(url, email, password)
    with _Whole(output) as file:
        download(url, _EXPORT, token=token, into=file)


def export_account(settings: Settings, email: str, output: Path) -> None:
    """The file holds the person's data, out of the data directory or of the service that runs on it. Raises Failed."""
    token = asyncio.run(access_token(settings, email))
    with _Whole(output) as file:
        try:
            asyncio.run(_export_here(settings, token, file))
        except InUse as held:
            _export_of_holder(settings, held.holder, token, file)


def delete_from(url: str, email: str, password: str) -> Any:
    """The person is erased, or is being erased, in this service; the receipt. Raises Failed."""
    return call(url, "DELETE", "/v1/me", token=_log_in(url, email, password), body={"password": password})


def delete_account(settings: Settings, email: str) -> dict[str, Any]:
    """The person is erased; the receipt. Raises Failed when a running service does not do it in time."""
    asked = asyncio.run(request_erasure(settings, email))
    try:
        done = asyncio.run(_erase_here(settings, asked.account))
    except InUse as held:
        done = asyncio.run(_erased_by_another(settings, asked.account))
        if done is None or done.finished_at is None:
            raise Failed(
                f"The erasure is asked for, and process {held.holder} has not finished it in {ERASED_WITHIN_S} s; "
                f"its log says why. The receipt will be {asked.receipt}."
            ) from held
    if done is None or done.finished_at is None:
        raise Failed(f"The erasure did not finish; the next start goes on with it. Its receipt is {asked.receipt}.")
    return {
        "receipt": done.receipt,
        "status": "erased",
        "requested_at": done.requested_at,
        "finished_at": done.finished_at,
        "erased": done.erased,
    }


def _log_in(url: str, email: str, password: str) -> str:
    body = {"grant_type": "password", "email": email, "password": password}
    return str(call(url, "POST", "/v1/auth/token", body=body)["access_token"])


async def _export_here(settings: Settings, token: str, file: BinaryIO) -> None:
    async with opened(settings) as service:
        account = service.authority.verify(token).account
        async for piece in service.lifecycle.exporter.document(account):
            file.write(piece)


def _export_of_holder(settings: Settings, holder: int | None, token: str, file: BinaryIO) -> None:
    """By the service that holds the directory, which is where the configuration says; an option may have moved it."""
    try:
        download(settings.base_url, _EXPORT, token=token, into=file)
    except NoService as error:
        raise Failed(
            f"{error.found} Process {holder} serves {settings.data_dir}: tell this command where, by its configuration "
            "(--config), or by SYNCBRIDGE_HOST and SYNCBRIDGE_PORT."
        ) from error


async def _erase_here(settings: Settings, account: AccountId) -> Erasure | None:
    async with opened(settings) as service:
        await service.lifecycle.eraser.run()
        return await service.records.erasures.get(account)


async def _erased_by_another(settings: Settings, account: AccountId) -> Erasure | None:
    deadline = time.monotonic() + ERASED_WITHIN_S
    while True:
        found = await erasure(settings, account)
        if (found is not None and found.finished_at is not None) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_LOOK_EVERY_S)


class _Whole:
    """A file that is there when all of it is: written beside its place, for its owner alone, and then moved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")

    def __enter__(self) -> BinaryIO:
        # A file or a link that was there is not written into: it may lead elsewhere, or be readable by others.
        self._part.unlink(missing_ok=True)
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        return self._file

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
