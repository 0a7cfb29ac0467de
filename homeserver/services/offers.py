"""What a user of another server would have to sign to come, go or knock: the first half of the handshakes.

Sources: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms and the sections after it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.auth.rules import check
from federation.core.auth.selection import CREATE, Slot, auth_slots
from federation.core.errors import Rejected
from federation.core.events.content import Membership
from federation.core.events.draft import Draft, template
from federation.core.events.format import MAX_PREV_EVENTS
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from homeserver.clock import Clock
from homeserver.errors import Forbidden, IncompatibleRoomVersion, NotFound
from homeserver.model.events import Event
from homeserver.model.rooms import Room
from homeserver.services.member_events import VOUCHER
from homeserver.services.restricted_joins import RestrictedJoins
from homeserver.services.server_access import ServerAccess
from homeserver.services.timeline import MEMBER
from homeserver.storage.database import Database

_NO_EVENT = EventID("$")


@dataclass(frozen=True, slots=True)
class Offer:
    """An event without proofs, and the version of the room for which it is."""

    room_version: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offers:
    """Makes membership events for users of other servers."""

    db: Database
    clock: Clock
    access: ServerAccess
    restricted_joins: RestrictedJoins

    async def make(
        self,
        origin: ServerName,
        room_id: RoomID,
        user_id: UserID,
        membership: Membership,
        versions: Collection[str] | None = None,
    ) -> Offer:
        """Return the event with which a user may join, leave or knock; `versions` are those that their server speaks.

        Raises `NotFound`, `Forbidden`, `IncompatibleRoomVersion`, and for a join what `RestrictedJoins.voucher` raises.
        """
        if server_of(user_id) != origin:
            raise Forbidden("The user is not one of your server's")

        def read(conn: Connection) -> Offer:
            room = self.access.resident(conn, origin, room_id)
            if versions is not None and room.version.id not in versions:
                raise IncompatibleRoomVersion(room.version.id)
            content: dict[str, Any] = {"membership": str(membership)}
            if membership is Membership.JOIN:
                voucher = self.restricted_joins.voucher(conn, room, user_id)
                if voucher is not None:
                    content[VOUCHER] = voucher
            return Offer(room.version.id, self._event(conn, room, Draft(room_id, MEMBER, user_id, content, user_id)))

        return await self.db.read(read)

    def _event(self, conn: Connection, room: Room, draft: Draft) -> dict[str, Any]:
        """Return the event on top of the room. Raises `Forbidden` if the rules do not allow it."""
        wanted = auth_slots(draft.type, draft.sender, draft.state_key, draft.content, room.version)
        state = self._entries(conn, room, {*wanted, CREATE})
        newest = sorted(room.extremities, reverse=True)[:MAX_PREV_EVENTS]
        heads = self.access.events.by_nids(conn, newest)
        if CREATE not in state or not heads:
            raise NotFound("This server is not in that room")
        fields = template(
            draft,
            version=room.version,
            prev_events=[event.event_id for event in heads.values()],
            auth_events=[state[slot].event_id for slot in wanted if slot in state],
            depth=1 + max(event.depth for event in heads.values()),
            now_ms=self.clock.now_ms(),
        )
        try:
            check(
                Pdu.trusted(fields, room.version, _NO_EVENT),
                {slot: state[slot].pdu for slot in wanted if slot in state},
                create=state[CREATE].pdu,
            )
        except Rejected as refusal:
            raise Forbidden(f"The room does not allow it: {refusal}") from refusal
        return {**fields, "origin": self.access.server_name}

    def _entries(self, conn: Connection, room: Room, wanted: Collection[Slot]) -> dict[Slot, Event]:
        if room.snapshot is None:
            return {}
        slots = self.access.names.slots(conn, wanted)
        order = list(slots.values())
        found = self.access.snapshots.standing(conn, [room.snapshot], order)[room.snapshot]
        nids = {slot: nid for slot, nid in zip(slots, found, strict=True) if nid is not None}
        loaded = self.access.events.by_nids(conn, nids.values())
        return {slot: loaded[nid] for slot, nid in nids.items()}
