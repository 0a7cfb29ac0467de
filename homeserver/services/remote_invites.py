"""Inviting users of other servers: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room.

The invited user's server signs the invite before it is stored, so that nobody is invited who cannot know of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection

from federation.core.acl import server_is_allowed
from federation.core.auth.receipt import Received, VerdictKind
from federation.core.auth.selection import CREATE
from federation.core.errors import BadEvent, InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.draft import Draft
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, parse_user_id, server_of
from federation.matrix.client import FederationClient
from federation.matrix.errors import BadAnswer, FederationError
from homeserver.errors import Forbidden
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid
from homeserver.services import access
from homeserver.services.intake import Intake
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.policy.recommendations import Unsigned
from homeserver.services.refusals import public
from homeserver.services.room_tellings import RoomTellings
from homeserver.services.server_access import SERVER_ACL
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage.database import Database, Write

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Proposed:
    """An invite that the room allows, with what its target is to be told."""

    room: RoomNid
    event: Pdu
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteInvites:
    """Invites users of other servers."""

    db: Database
    policed: PolicedWrites
    timeline: Timeline
    intake: Intake
    tellings: RoomTellings
    client: FederationClient

    def concerns(self, draft: Draft) -> bool:
        """Return whether an event invites a user of another server."""
        if draft.type != MEMBER or draft.state_key is None or draft.content.get("membership") != Membership.INVITE:
            return False
        try:
            return server_of(parse_user_id(draft.state_key)) != self.timeline.server_name
        except InvalidIdentifier:
            return False

    async def send(self, who: Requester, room_id: RoomID, target: UserID, content: Mapping[str, Any]) -> EventID:
        """Invite a user; return the event's ID. `content` is that of the event, without the membership.

        Raises `Forbidden` if the room does not allow it, `OtherServerFailed` if the user's server gives no answer, or
        what that server says against it.
        """
        await self.db.read(lambda conn: access.joined_room(conn, self.timeline.names, who.user, room_id))
        draft = Draft(room_id, MEMBER, who.user_id, {**content, "membership": str(Membership.INVITE)}, target)
        return await self.send_draft(room_id, target, draft)

    async def send_draft(self, room_id: RoomID, target: UserID, draft: Draft) -> EventID:
        """Invite a user by an event whose content is whole; return its ID. Raises what `send` raises."""
        server = server_of(target)
        proposed = await self.policed.write(lambda tx: self._propose(tx, room_id, draft, server))
        event = proposed.event
        try:
            answer = await self.client.invite(server, room_id, event.event_id, proposed.body)
            event = _signed(event, server, answer)
        except FederationError as error:
            log.info("invite_refused", room_id=room_id, target=target, reason=str(error))
            raise public(error, server) from error

        def prepare(conn: Connection) -> None:
            self.intake.prepare(conn, proposed.room, event.prev_events)

        await self.db.read(prepare)
        try:
            verdict = await self.db.write(
                lambda tx: self.intake.take(tx, proposed.room, Received(event), relay_except=self.timeline.server_name)
            )
        except Unsigned as error:
            raise Forbidden("The room has changed its policy server meanwhile") from error
        if verdict.kind is not VerdictKind.ACCEPTED:
            # Something has changed while the other server was asked.
            raise Forbidden(f"The room does not allow it: {verdict.reason}")
        return event.event_id

    def _propose(self, tx: Write, room_id: RoomID, draft: Draft, server: ServerName) -> _Proposed:
        turn = self.timeline.turn_of(tx, room_id)
        self._check_server(turn, server)
        event = self.timeline.propose(turn, draft)
        told = [orjson.loads(each) for each in self.tellings.stripped(tx.conn, turn.room, draft.sender)]
        body = {"room_version": event.version.id, "event": event.fields, "invite_room_state": told}
        return _Proposed(turn.room.nid, event, body)

    def _check_server(self, turn: Turn, server: ServerName) -> None:
        """Raise `Forbidden` if nobody of a server can take part in the room: the invite would lead nowhere."""
        create = self.timeline.entry(turn, *CREATE)
        if create is None or create.content.get("m.federate") is False:
            raise Forbidden("This room is not shared with other servers")
        acl = self.timeline.entry(turn, *SERVER_ACL)
        if acl is not None and not server_is_allowed(server, acl.content):
            raise Forbidden(f"The room does not let {server} take part")


def _signed(event: Pdu, server: ServerName, answer: Mapping[str, Any]) -> Pdu:
    """Return the event with the other server's signature beside ours; nothing else of what it sends back counts."""
    theirs = answer.get("event")
    try:
        same = Pdu.from_wire(theirs, event.version)
    except BadEvent as error:
        raise BadAnswer(f"the invite came back as no event: {error}") from error
    if same.event_id != event.event_id or server not in same.fields["signatures"]:
        raise BadAnswer("the invite came back as another event, or without a signature")
    signatures = {**event.fields["signatures"], server: same.fields["signatures"][server]}
    return Pdu.trusted({**event.fields, "signatures": signatures}, event.version, event.event_id)
