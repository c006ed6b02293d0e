"""What a node says and hears of the sessions that live there.

Of each followed session three things are `Due` at times: its statement to be said, what a dead node said to be removed,
a look at the store.

What the channel loses is found by the look: every session has one after each subscription, after a frame that could
not be read, when a primary changed, when a node comes back from the dead, and every `Rhythm.check_s` in any case.

No call here needs to be done once, or to be on a replica: each may be repeated (statements are numbered), and what a
primary takes with it is said again. So the link treats all of them as it does reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link import script
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.channel import Broken, Deleted, Entries, Moved, Signal, Statement
from syncbridge.adapters.cluster.mesh.due import Due, Rank
from syncbridge.adapters.cluster.mesh.followed import Followed
from syncbridge.adapters.cluster.mesh.liveness import Liveness
from syncbridge.adapters.cluster.mesh.presence import Presence
from syncbridge.adapters.cluster.mesh.rhythm import Rhythm
from syncbridge.core.ids import DeviceId, SessionId
from syncbridge.ports import Neighbour, Telemetry

KINDS: Final[dict[type[Any], str]] = {
    Moved: "moved",
    Statement: "presence",
    Signal: "signal",
    Deleted: "deleted",
}

_STATE: Final = script.load("state_presence")
_BURY: Final = script.load("bury_presence")
_LOOK: Final = script.load("look")


class SessionNews:
    """The sessions of `RedisMesh`. Everything is called in the loop's thread; nothing blocks or raises."""

    def __init__(
        self,
        node: str,
        link: RedisLink,
        neighbour: Neighbour,
        telemetry: Telemetry,
        liveness: Liveness,
        rhythm: Rhythm,
        call_soon: Callable[[Callable[[], None]], object],
        now_s: Callable[[], float],
    ) -> None:
        self._node = node
        self._link = link
        self._neighbour = neighbour
        self._telemetry = telemetry
        self._liveness = liveness
        self._rhythm = rhythm
        self._due = Due(rhythm.turn_max, rhythm.open_max, call_soon)
        self._now_s = now_s
        self._followed: dict[SessionId, Followed] = {}
        self._leaving: dict[SessionId, Followed] = {}
        self._statements = 0
        self._questions = 0
        self._renewed: dict[Followed, None] = {}  # told at the next tick: many devices are heard in one
        self._suspected: dict[tuple[Followed, str], None] = {}
        self._round: deque[tuple[float, Followed]] = deque()
        self._signal_bytes = 0  # since the last tick
        self._entries_heard = 0  # the same; to tell each costs as much as to hear of it
        self._retry_at_s = 0.0
        self._settled: Callable[[], None] | None = None

    def __len__(self) -> int:
        """How many sessions are followed."""
        return len(self._followed)

    # -- what the node says -------------------------------------------------------------------------------------

    def follow(self, session: SessionId) -> None:
        """As `Mesh.follow`."""
        if session in self._followed:
            return
        left = self._leaving.pop(session, None)
        followed = self._followed[session] = Followed(session, left.presence if left else Presence())
        if left:
            self._due.drop(left)
            self._want_say(followed)
        self._round.append((self._now_s() + self._rhythm.check_s, followed))
        self._link.subscribe(followed.channel, partial(self._heard, followed), partial(self._subscribed, followed))

    def unfollow(self, session: SessionId) -> None:
        """As `Mesh.unfollow`; what the node said of it is taken back."""
        followed = self._followed.pop(session, None)
        if followed is None:
            return
        followed.is_followed = False
        self._link.unsubscribe(followed.channel)
        self._due.drop(followed)
        self._renewed.pop(followed, None)
        if followed.presence.number:
            followed.presence.mine.clear()
            self._leaving[session] = followed
            self._want_say(followed)

    def present(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """As `Mesh.present`, of a session that is followed."""
        followed = self._followed.get(session)
        if followed is not None and followed.presence.present(device, heard_at):
            self._want_say(followed)

    def absent(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """As `Mesh.absent`."""
        followed = self._followed.get(session)
        if followed is not None and followed.presence.absent(device, heard_at):
            self._want_say(followed)

    def signal(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        """As `Mesh.signal`."""
        self._signal_bytes += len(frame)
        is_too_much = self._due.is_full or self._signal_bytes > self._rhythm.signal_bytes_max
        if is_too_much or len(frame) > channel.SIGNAL_BYTES_MAX:
            self._telemetry.measured("mesh_dropped", 1, "signal")
            return
        self._publish(session, channel.encode_signal(self._node, device, frame), "signal")

    def delete(self, session: SessionId, reason: str) -> None:
        """As `Mesh.delete`."""
        self._publish(session, channel.encode_deleted(self._node, reason), "deleted")

    def _publish(self, session: SessionId, frame: bytes, kind: str) -> None:
        self._telemetry.measured("mesh_out", 1, kind)
        self._link.publish(keys.session_channel(session), frame)

    def unfollow_all(self, settled: Callable[[], None]) -> None:
        """No session is followed; ``settled`` is called when all that this node said is taken back in the store."""
        for session in list(self._followed):
            self.unfollow(session)
        self._settled = settled
        self._left(None)

    # -- what is due --------------------------------------------------------------------------------------------

    def state_all(self) -> None:
        """Everything this node said is said again: the others took it for dead, or the store lost it."""
        for followed in self._followed.values():
            if followed.presence.mine:
                self._want_say(followed)

    def look_at_all(self) -> None:
        """Every followed session is looked at, as fast as the turns allow."""
        for followed in self._followed.values():
            self._want_look(followed)

    def suspects(self) -> list[tuple[Followed, str]]:
        """Statements of the dead that looks have found since this was asked."""
        suspected, self._suspected = self._suspected, {}
        return list(suspected)

    def bury(self, suspects: list[tuple[Followed, str]]) -> None:
        """They are removed where their node is still dead: its count was read after they were found.

        A node that comes back counts before it speaks, so what it said then is never buried.
        """
        for followed, node in suspects:
            if followed.is_followed and self._liveness.is_dead(node):
                self._want_burial(followed, node)

    def died(self, node: str) -> None:
        """What the node had is gone, here and in the store, as fast as the turns allow."""
        for followed in self._followed.values():
            if node in followed.presence.nodes():
                self._want_burial(followed, node)

    def tick(self) -> None:
        """What is due by the time is asked for, and what was renewed is told."""
        now_s = self._now_s()
        for _ in range(min(len(self._round), self._rhythm.turn_max)):
            if self._round[0][0] > now_s:
                break
            followed = self._round.popleft()[1]
            if followed.is_followed:
                self._round.append((now_s + self._rhythm.check_s, followed))
                self._want_look(followed)
                if followed.presence.is_to_be_renewed(now_s, self._rhythm.renew_s):
                    self._want_say(followed)
        renewed, self._renewed = self._renewed, {}
        for followed in renewed:
            self._tell(followed)
        self._signal_bytes = 0
        if self._entries_heard:
            self._telemetry.measured("mesh_in", self._entries_heard, "entries")
            self._entries_heard = 0
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + self._rhythm.retry_s
            self._due.retry()

    def _want_say(self, followed: Followed) -> None:
        self._due.want(Rank.SAY, followed, partial(self._say, followed))

    def _want_look(self, followed: Followed) -> None:
        self._due.want(Rank.LOOK, followed, partial(self._look, followed))

    def _want_burial(self, followed: Followed, node: str) -> None:
        self._due.want(Rank.BURY, (followed, node), partial(self._bury, followed, node))

    # -- statements ---------------------------------------------------------------------------------------------

    def _say(self, followed: Followed) -> None:
        self._statements += 1
        number = self._statements
        statement = followed.presence.statement(self._node, number, self._questions, self._now_s())
        frame = channel.encode_statement(statement)
        self._telemetry.measured("mesh_out", 1, "presence")
        self._due.opened()
        self._link.run(
            _STATE,
            [followed.keys.who, followed.channel, followed.keys.gone],
            [self._node.encode(), b"%d" % number, frame, b"%d" % (self._rhythm.keep_s * 1000)],
            partial(self._said, followed, number),
            is_write=False,
        )

    def _said(self, followed: Followed, number: int, answer: Answer) -> None:
        self._due.answered()
        is_leaving = self._leaving.get(followed.session) is followed
        if number != followed.presence.number or not (followed.is_followed or is_leaving):
            return
        if isinstance(answer, Failure):
            # Perhaps it stands, perhaps not, and perhaps only later: it is said anew, with a higher number.
            self._due.want_later(Rank.SAY, followed, partial(self._say, followed))
        elif is_leaving:
            self._left(followed.session)

    def _left(self, session: SessionId | None) -> None:
        if session is not None:
            del self._leaving[session]
        if self._settled is not None and not self._leaving:
            self._settled()

    def _bury(self, followed: Followed, node: str) -> None:
        """What the node said does not count any more, and is removed; where that fails, the next look comes by."""
        if not (self._liveness.is_dead(node) or node in followed.presence.stale(self._rhythm.stale_s)):
            return  # it said something meanwhile
        number = followed.presence.drop(node)
        self._tell(followed)
        if number:
            self._due.opened()
            self._link.run(
                _BURY,
                [followed.keys.who, followed.channel],
                [node.encode(), b"%d" % number, channel.encode_statement(Statement(node, number, {}))],
                lambda _answer: self._due.answered(),
                is_write=False,
            )

    # -- looks --------------------------------------------------------------------------------------------------

    def _subscribed(self, followed: Followed) -> None:
        if followed.is_followed:
            if followed.has_ready:
                self._telemetry.measured("mesh_resubscribed", 1)
            followed.has_ready = True
            self._want_look(followed)

    def _look(self, followed: Followed) -> None:
        if followed.is_looking:
            followed.is_to_look_again = True  # what it is for may have happened after the question that is open
            return
        self._questions += 1
        followed.asked = self._questions
        followed.is_looking = True
        self._due.opened()
        self._link.run(
            _LOOK, [followed.keys.head, followed.keys.who], [], partial(self._looked, followed), is_write=False
        )

    def _looked(self, followed: Followed, answer: Answer) -> None:
        self._due.answered()
        followed.is_looking = False
        if not followed.is_followed:
            return
        if followed.is_to_look_again:
            followed.is_to_look_again = False
            self._want_look(followed)
        if not isinstance(answer, list):
            self._due.want_later(Rank.LOOK, followed, partial(self._look, followed))
            return
        self._see_presence(followed, self._statements_of(answer[2:]))
        if followed.is_followed:
            version = int(answer[1]) if bytes(answer[1]).isdigit() else -1
            self._see_head(followed, bytes(answer[0]).decode("utf-8", "replace"), version)

    def _statements_of(self, fields: list[Any]) -> dict[str, Statement]:
        stands: dict[str, Statement] = {}
        for value in fields[1::2]:
            statement = channel.decode(bytes(value).partition(b" ")[2])
            if isinstance(statement, Statement):
                stands[statement.node] = statement
            else:
                self._telemetry.measured("mesh_broken", 1, "stored")
        return stands

    def _see_presence(self, followed: Followed, stands: dict[str, Statement]) -> None:
        presence = followed.presence
        for node, statement in list(stands.items()):
            self._liveness.met(node)
            if self._liveness.is_dead(node):
                presence.hear(node, statement, followed.asked)
                presence.drop(node)
                self._suspected[followed, node] = None
                del stands[node]
        # Longer than two checks was no looking, but an outage: no statement could be renewed in it.
        since_s = followed.looked_after_s(self._now_s(), 2 * self._rhythm.check_s)
        reading = presence.read(self._node, stands, followed.asked, since_s)
        for node in presence.stale(self._rhythm.stale_s):
            self._want_burial(followed, node)
        if reading.is_mine_missing:
            self._want_say(followed)
        if reading.is_changed and followed.told is not None:
            self._telemetry.measured("mesh_mended", 1, "presence")
        self._tell(followed)

    def _see_head(self, followed: Followed, epoch: str, version: int) -> None:
        if version < 0:
            return  # the store will say what is wrong with it to whoever commits
        if followed.head is not None:
            known_epoch, known_version, asked = followed.head
            if asked >= followed.asked and epoch != known_epoch:
                self._want_look(followed)  # of what was said since and this answer, either may be the older
                return
            if asked >= followed.asked and version < known_version:
                return
            if epoch == known_epoch and version > known_version:
                self._telemetry.measured("mesh_mended", 1, "entries")
        followed.head = (epoch, version, followed.asked - 1)
        self._neighbour.head_seen(followed.session, epoch, version)

    # -- what the others say ------------------------------------------------------------------------------------

    def _heard(self, followed: Followed, frame: bytes) -> None:
        if not followed.is_followed:
            return
        message = channel.decode(frame)
        if type(message) is Entries:
            self._hear_entries(followed, message)
            return
        kind = KINDS.get(type(message))
        if kind is None:
            self._hear_nothing(followed, message.reason if isinstance(message, Broken) else "malformed")
            return
        self._telemetry.measured("mesh_in", 1, kind)
        session = followed.session
        match message:
            case Moved():
                self._want_look(followed)
            case Statement():
                self._hear_statement(followed, message)
            case Signal(node, device, inner) if node != self._node:
                self._neighbour.signalled(session, device, inner)
            case Deleted(node, reason) if node != self._node:
                self._neighbour.deleted(session, reason)

    def _hear_entries(self, followed: Followed, message: Entries) -> None:
        session, first = followed.session, message.first
        if not self._neighbour.is_known(session, first, message.txn):
            bodies = message.copies()
            entries = channel.read_entries(first, bodies)
            if isinstance(entries, Broken):
                self._hear_nothing(followed, entries.reason)
                return
            self._neighbour.entries_seen(
                session, message.epoch, entries, message.digests, message.txn, message.previous_at, bodies
            )
        followed.head = (message.epoch, first + len(message.bodies) - 1, self._questions)
        self._entries_heard += 1

    def _hear_nothing(self, followed: Followed, reason: str) -> None:
        self._telemetry.measured("mesh_broken", 1, reason)
        self._want_look(followed)

    def _hear_statement(self, followed: Followed, statement: Statement) -> None:
        presence, node = followed.presence, statement.node
        if node == self._node:
            if presence.is_buried_by(statement):
                self._want_say(followed)
            return
        if self._liveness.is_dead(node):
            # Late, or it lives after all: then it counts, and `look_at_all` follows. The hash knows.
            self._want_look(followed)
            return
        self._liveness.met(node)
        if not presence.hear(node, statement, self._questions) or followed.told is None:
            return
        if statement.left:
            gone = {device: at for device, at in statement.left.items() if at > followed.told.get(device, at)}
            self._tell_devices(followed, followed.told | gone)
        if followed.told.keys() == presence.elsewhere().keys():
            self._renewed[followed] = None
        else:
            self._tell(followed)

    def _tell(self, followed: Followed) -> None:
        if followed.is_followed:
            self._tell_devices(followed, followed.presence.elsewhere())

    def _tell_devices(self, followed: Followed, devices: dict[DeviceId, int]) -> None:
        if devices != followed.told:
            followed.told = devices
            self._neighbour.elsewhere(followed.session, devices)
