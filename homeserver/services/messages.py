"""What a user sends into a room: messages, state, redactions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.draft import Draft
from federation.core.ids import EventID, RoomAlias, RoomID, UserID, parse_event_id
from homeserver.errors import BadJson, DuplicateAnnotation, UserSuspended
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import EventNid
from homeserver.services import member_events, once
from homeserver.services.aliases import CANONICAL_ALIAS, Aliases, check_canonical_alias
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage import relations
from homeserver.storage.database import Write

REDACTION = "m.room.redaction"


class Transaction(Protocol):
    """How a door knows again what a client has sent already. Both are called inside the write that sends it."""

    def find(self, conn: Connection) -> EventNid | None:
        """Return the event that this transaction has sent, None if it is new."""

    def remember(self, tx: Write, event: Event) -> None:
        """Remember that this transaction has sent an event."""


@dataclass(frozen=True, slots=True)
class _DeviceTransaction:
    """https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers."""

    timeline: Timeline
    who: Requester
    scope: str
    txn_id: str

    def find(self, conn: Connection) -> EventNid | None:
        return once.find(conn, self.who.device, self.scope, self.txn_id)

    def remember(self, tx: Write, event: Event) -> None:
        now = self.timeline.clock.now_ms()
        once.remember(tx, self.who.device, self.scope, self.txn_id, event.nid, now)
        tx.after_commit(self.timeline.recent.sent_as, event.nid, self.who.device, self.txn_id)


@dataclass(frozen=True, slots=True)
class Messages:
    """Sends events of local users."""

    policed: PolicedWrites
    timeline: Timeline
    aliases: Aliases
    invites: RemoteInvites | None
    """Invites users of other servers; None if this server speaks with none."""

    async def send(
        self, who: Requester, room_id: RoomID, event_type: str, content: Mapping[str, Any], txn_id: str | Transaction
    ) -> EventID:
        """Send a message event; a transaction that was sent before is answered with its event.

        Raises `Forbidden`, `BadJson`, `TooLarge`, `DuplicateAnnotation`.
        """
        redacts = _redacted_by(content) if event_type == REDACTION else None
        draft = Draft(room_id, event_type, who.user_id, content, redacts=redacts)
        return await self._send_once(who, draft, f"send {room_id} {event_type}", txn_id)

    async def redact(
        self, who: Requester, room_id: RoomID, event_id: EventID, content: Mapping[str, Any], txn_id: str | Transaction
    ) -> EventID:
        """Redact an event, with the reason in `content`. Raises `Forbidden`."""
        draft = Draft(room_id, REDACTION, who.user_id, content, redacts=event_id)
        return await self._send_once(who, draft, f"redact {room_id} {event_id}", txn_id)

    async def set_state(
        self, who: Requester, room_id: RoomID, event_type: str, state_key: str, content: Mapping[str, Any]
    ) -> EventID:
        """Send a state event. Raises `Forbidden`, `BadJson`, `TooLarge`, and what aliases raise."""
        _check_suspended(who, event_type)
        draft = Draft(room_id, event_type, who.user_id, content, state_key)
        if self.invites is not None and self.invites.concerns(draft):
            return await self.invites.send(who, room_id, UserID(state_key), content)

        elsewhere: set[RoomAlias] = set()
        if event_type == CANONICAL_ALIAS:
            elsewhere = await self.aliases.elsewhere(who, room_id, content)

        def write(tx: Write) -> EventID:
            turn = self.timeline.turn_of(tx, room_id)
            if event_type == CANONICAL_ALIAS:
                check_canonical_alias(turn, self.timeline, content, elsewhere)
            wanted = member_events.prepare(self.timeline, turn, draft) if event_type == MEMBER else draft
            return self.timeline.append(turn, wanted).event_id

        return await self.policed.write(write)

    async def _send_once(self, who: Requester, draft: Draft, scope: str, txn_id: str | Transaction) -> EventID:
        _check_suspended(who, draft.type)
        room_id = draft.room_id
        assert room_id is not None
        timeline = self.timeline
        transaction: Transaction = (
            _DeviceTransaction(timeline, who, scope, txn_id) if isinstance(txn_id, str) else txn_id
        )

        def write(tx: Write) -> EventID:
            sent = transaction.find(tx.conn)
            if sent is not None:
                return timeline.events.by_nid(tx.conn, sent).event_id
            turn = timeline.turn_of(tx, room_id)
            _check_annotation(turn, timeline, draft, who)
            event = timeline.append(turn, draft)
            transaction.remember(tx, event)
            return event.event_id

        return await self.policed.write(write)


def _redacted_by(content: Mapping[str, Any]) -> EventID:
    """Return what a redaction sent as any event redacts (since v1.18)."""
    try:
        return parse_event_id(content.get("redacts") or "")
    except (InvalidIdentifier, TypeError) as error:
        raise BadJson("redacts: must be an event ID") from error


def _check_suspended(who: Requester, event_type: str) -> None:
    # https://spec.matrix.org/v1.19/client-server-api/#account-suspension: redacting one's own remains allowed.
    if who.suspended and event_type != REDACTION:
        raise UserSuspended("Your account is suspended")


def _check_annotation(turn: Turn, timeline: Timeline, draft: Draft, who: Requester) -> None:
    """Refuse the same reaction twice: https://spec.matrix.org/v1.19/client-server-api/#event-annotations-and-reactions."""
    relation = relations.relation_of(draft.content)
    if relation is None or relation[0] != "m.annotation":
        return
    _, parent, key = relation
    if relations.annotated(turn.tx.conn, timeline.names, turn.room.nid, who.user, parent, draft.type, key):
        raise DuplicateAnnotation("You have sent this reaction already")
