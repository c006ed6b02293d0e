"""One session's story, read straight from the data directory."""

from __future__ import annotations

from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.adapters.embedded.journal import NotThere
from syncbridge.adapters.embedded.onlooker import looking_at
from syncbridge.adapters.embedded.records import Damage
from syncbridge.config import Settings
from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.doctor.records import looking_at_records
from syncbridge.errors import SyncBridgeError
from syncbridge.ports import Incident
from syncbridge.records.incidents import Incidents
from syncbridge.story import Story


class NoStory(Exception):
    """Nothing can be told of the session; the sentence says why."""


async def read_story(settings: Settings, session: SessionId) -> Story:
    """The session's story, straight from the data directory; a running service does not notice. Raises NoStory."""
    entries, damage = _read_log(settings, session)
    notes = []
    incidents: list[Incident] = []
    try:
        async with looking_at_records(settings) as database:
            incidents = await Incidents(database).of_session(session)
    except SyncBridgeError as fault:
        notes.append(f"The incidents could not be read, so refusals are not known: {fault.message}")
    return Story(session, entries, incidents, damage, notes)


def _read_log(settings: Settings, session: SessionId) -> tuple[list[Entry], str]:
    try:
        with looking_at(settings.data_dir, settings.limits) as onlooker:
            reason = onlooker.set_aside().get(session)
            if reason is not None:
                return [], reason
            try:
                return onlooker.entries(session), ""
            except Damage as damage:
                return [], str(damage)
    except NotThere as absence:
        raise NoStory(
            f"There is no session {session} in {settings.data_dir}: it never was, its time was over, or somebody"
            " deleted it."
        ) from absence
    except CannotOpen as refusal:
        raise NoStory(f"The journal cannot be read: {refusal}") from refusal
