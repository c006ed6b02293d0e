"""A session's log as the protocol describes it, in the plainest form: what replicas are tested against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from syncbridge._ext import apply_patch, diff, rebase
from syncbridge.core.digest import push_digest, state_hash
from syncbridge.core.entry import Entry, Position
from syncbridge.core.messages import Ack, EntryMessage, Join, Joined, Push, Reject, ServerMessage
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.errors import SyncBridgeError, by_code

KIND = "custom"
POLICIES = SESSION_TYPES[KIND].policies


@dataclass
class Member:
    """A device's line on one connection: what the server has said and the device has not read yet."""

    device: str
    unread: list[ServerMessage] = field(default_factory=list)
    expected_seq: int = 1


class ReferenceServer:
    """One session; every call is handled whole, answers wait in the members' lines."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.states: list[dict[str, Any]] = [state]
        self.entries: list[Entry] = []
        self.sent: dict[tuple[str, int], Push] = {}
        self.contexts: dict[tuple[str, int], Any] = {}
        self.applied: dict[tuple[str, int], int] = {}
        self.members: dict[str, Member] = {}
        self.epoch = "e1"
        self.oldest_base = 0
        self.is_unavailable = False

    @property
    def version(self) -> int:
        return len(self.entries)

    @property
    def state(self) -> dict[str, Any]:
        return self.states[-1]

    def forget_before(self, version: int) -> None:
        """The log reaches back to ``version`` and no further."""
        self.oldest_base = max(self.oldest_base, min(version, self.version))

    def lose_log(self) -> None:
        """Another log with the same state takes this one's place."""
        self.epoch += "+"
        self.states = [self.state]
        self.entries, self.applied, self.sent = [], {}, {}
        self.oldest_base = 0
        self.members = {}

    def connect(self, device: str) -> None:
        self.members.pop(device, None)

    def disconnect(self, device: str) -> None:
        self.members.pop(device, None)

    def last_seq(self, device: str) -> int:
        return max((seq for name, seq in self.applied if name == device), default=0)

    def join(self, device: str, message: Join) -> None:
        member = Member(device)
        before = self.members.get(device)
        if before is not None:
            member.unread = before.unread
        self.members[device] = member
        last_seq = self.last_seq(device)
        member.expected_seq = max(last_seq + 1, message.seq or 1)
        position, reason = message.position, ""
        if position is None:
            reason = "new"
        elif position.epoch != self.epoch:
            reason = "epoch"
        elif position.version > self.version:
            reason = "ahead"
        elif position.version < self.oldest_base:
            reason = "behind"
        entries = None if reason or position is None else self.entries[position.version :]
        member.unread.append(
            Joined(
                session=message.session,
                position=Position(self.epoch, self.version),
                mode="snapshot" if reason else "resumed",
                hash=state_hash(self.state),
                fence=1,
                active="a",
                status="active",
                kind=KIND,
                last_seq=last_seq,
                devices=[],
                server_time=0,
                reason=reason,
                entries=entries,
                state=self.state if reason else None,
                ref=message.ref,
            )
        )

    def push(self, device: str, message: Push) -> None:
        member = self.members[device]
        key = (device, message.seq)
        if key in self.applied:
            if push_digest(self.sent[key]) != push_digest(message):
                self._reject(member, message, "seq_conflict")
            else:
                version = self.applied[key]
                entry = self.entries[version - 1]
                member.unread.append(Ack(message.session, message.seq, version, 0, entry.ops, entry.conflicts))
            return
        if message.seq < member.expected_seq:
            self._reject(member, message, "seq_settled")
        elif message.seq > member.expected_seq:
            self._reject(member, message, "seq_gap")
        elif self.is_unavailable:
            self._reject(member, message, "unavailable")
        else:
            code = self._commit(member, message)
            if code:
                member.expected_seq += 1
                self._reject(member, message, code)

    def _commit(self, member: Member, message: Push) -> str:
        if message.epoch != self.epoch:
            return "epoch_unknown"
        if message.base > self.version:
            return "base_in_future"
        if message.base < self.oldest_base:
            return "base_too_old"
        try:
            context = self._context(member.device, message.base)
            rebased = rebase(message.ops, [diff(context, self.state)], POLICIES, base=context, at=message.at)
            state = apply_patch(self.state, rebased.ops)
        except SyncBridgeError as error:
            return error.code
        rows = [{**row, "device": member.device, "version": self.version + 1} for row in rebased.conflicts]
        entry = Entry(self.version + 1, "patch", 0, member.device, message.seq, rebased.ops, conflicts=rows)
        self.entries.append(entry)
        self.states.append(state)
        self.applied[member.device, message.seq] = entry.version
        self.sent[member.device, message.seq] = message
        self.contexts[member.device, message.seq] = context
        member.expected_seq = message.seq + 1
        ops = None if rebased.ops == message.ops else rebased.ops
        for other in self.members.values():
            if other is member:
                other.unread.append(Ack(message.session, message.seq, entry.version, 0, ops, rows))
            else:
                other.unread.append(
                    EntryMessage(
                        message.session,
                        entry.version,
                        "patch",
                        0,
                        member.device,
                        message.seq,
                        entry.ops,
                        conflicts=rows,
                    )
                )
        return ""

    def _context(self, device: str, base: int) -> Any:
        """What the device saw: the state at ``base`` with its own later pushes, brought to that base, on top."""
        context = self.states[base]
        for entry in self.entries[base:]:
            if entry.device == device:
                key = (device, entry.seq)
                sent, made_on = self.sent[key], self.contexts[key]
                shown = rebase(sent.ops, [diff(made_on, context)], POLICIES, base=made_on, at=sent.at)
                context = apply_patch(context, shown.ops)
        return context

    def _reject(self, member: Member, message: Push, code: str) -> None:
        kind = by_code()[code]
        member.unread.append(
            Reject(message.session, message.seq, code, kind.retry, kind.meaning, self.version, epoch=self.epoch)
        )
