"""One writer a room: drafts events on the newest head, asks the law, stores them, and tells who must know.

Everything here runs inside a write (see `homeserver.storage.database`): the decision and the storing are one
transaction, so nothing that was checked can have changed. The room's turn is the transaction itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from federation.core.auth.rules import check
from federation.core.auth.selection import CREATE, auth_slots
from federation.core.errors import BadEvent, EventTooLarge, ProtocolError, Rejected
from federation.core.errors import BadJson as NotCanonical
from federation.core.events.content import Membership, PowerLevels
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.events.redaction import redact
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.room_versions import RoomVersion
from federation.core.signing import SigningKey
from homeserver.clock import Clock, Ids
from homeserver.errors import BadJson, Forbidden, TooLarge
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, SlotNid, UserNid
from homeserver.model.rooms import Room
from homeserver.services.access import NOT_IN_ROOM
from homeserver.services.live import Live
from homeserver.services.power import levels_in
from homeserver.services.recent import Recent
from homeserver.storage import memberships, relations, rooms
from homeserver.storage.database import Write
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import EMPTY, Snapshot, Snapshots, State

MEMBER = "m.room.member"
STRIPPED = (
    CREATE, ("m.room.name", ""), ("m.room.avatar", ""), ("m.room.topic", ""), ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""), ("m.room.encryption", ""),
)  # fmt: skip
"""What an invited user is told of a room: https://spec.matrix.org/v1.19/client-server-api/#stripped-state."""


@dataclass(slots=True)
class Turn:
    """A room within one write: its head, which every event moves on."""

    tx: Write
    room: Room
    snapshot: Snapshot | None

    @property
    def state(self) -> State:
        """The current state: slot to event."""
        return self.snapshot.state if self.snapshot is not None else EMPTY


@dataclass(frozen=True, slots=True)
class Timeline:
    """Appends events to rooms."""

    server_name: ServerName
    key: SigningKey
    names: Names
    events: Events
    snapshots: Snapshots
    live: Live
    recent: Recent
    clock: Clock
    ids: Ids
    movers: list[Callable[[RoomNid, UserNid, UserID, bool], None]] = field(default_factory=list)
    """Told, after the commit, who has come into a room (True) or gone out of it; filled by the composition root."""

    def turn(self, tx: Write, room: RoomNid) -> Turn:
        """Take a room's turn: return its head as of now."""
        head = tx.fresh.get("room", room) or rooms.load(tx.conn, room)
        snapshot = self.snapshots.load(tx.conn, head.snapshot) if head.snapshot is not None else None
        return Turn(tx, head, snapshot)

    def turn_of(self, tx: Write, room_id: RoomID) -> Turn:
        """Take the turn of a room by its ID. Raises `Forbidden` if there is no such room here."""
        room = self.names.room(tx.conn, room_id)
        if room is None:
            raise Forbidden(NOT_IN_ROOM)
        return self.turn(tx, room)

    def create(
        self, tx: Write, version: RoomVersion, sender: UserID, content: Mapping[str, object], room_id: RoomID | None
    ) -> Turn:
        """Make a room with its create event; `room_id` is None where the version derives it from that event."""
        now = self.clock.now_ms()
        draft = Draft(room_id, "m.room.create", sender, content, "")
        pdu = self._build(draft, version, (), (), depth=1, now_ms=now)
        # Where the ID is the event's hash, two rooms that someone makes alike in one millisecond would be the same one.
        while room_id is None and self.names.room(tx.conn, pdu.room_id) is not None:
            now += 1
            pdu = self._build(draft, version, (), (), depth=1, now_ms=now)
        turn = Turn(tx, rooms.create(tx, self.names, pdu.room_id, version, now), None)
        self._check(pdu, {}, None)
        self._store(turn, pdu, None)
        return turn

    def entry(self, turn: Turn, event_type: str, state_key: str = "") -> Event | None:
        """Return the event that stands in a slot of the current state."""
        slot = self.names.slot(turn.tx.conn, event_type, state_key)
        nid = turn.state.get(slot) if slot is not None else None
        return self.events.by_nid(turn.tx.conn, nid) if nid is not None else None

    def power_levels(self, turn: Turn) -> PowerLevels:
        """Return the current power levels."""
        levels = levels_in(turn.tx.conn, self.names, self.events, self.snapshots, turn.room)
        assert levels is not None
        return levels

    def append(self, turn: Turn, draft: Draft) -> Event:
        """Append an event by a local sender to a room; return it.

        A state event that says what stands there already, by the same sender, is not sent again. Raises `Forbidden` if
        the rules do not allow it, `BadJson` or `TooLarge` if it is no event.
        """
        tx, version = turn.tx, turn.room.version
        wanted = auth_slots(draft.type, draft.sender, draft.state_key, draft.content, version)
        standing = (draft.type, draft.state_key) if draft.state_key is not None else None
        slots = self.names.slots(tx.conn, {*wanted, CREATE, *((standing,) if standing is not None else ())})
        nids = {pair: nid for pair, slot in slots.items() if (nid := turn.state.get(slot)) is not None}
        found = self.events.by_nids(tx.conn, {*nids.values(), *turn.room.extremities})
        state = {pair: found[nid] for pair, nid in nids.items()}

        old = state.get(standing) if standing is not None else None
        if old is not None and old.sender == draft.sender and old.content == draft.content and old.redacted_by is None:
            return old
        pdu = self._build(
            draft, version,
            [found[nid].event_id for nid in turn.room.extremities],
            [state[pair].event_id for pair in wanted if pair in state],
            depth=turn.room.depth + 1, now_ms=self.clock.now_ms(),
        )  # fmt: skip
        auth_state = {pair: state[pair].pdu for pair in wanted if pair in state}
        create = state.get(CREATE)
        self._check(pdu, auth_state, create.pdu if create is not None else None)
        target = self._redaction_target(turn, pdu) if pdu.type == "m.room.redaction" else None
        event = self._store(turn, pdu, old)
        if target is not None:
            self._redact(turn, target, event)
        return event

    def _build(
        self, draft: Draft, version: RoomVersion, prev_events: Sequence[EventID], auth_events: Sequence[EventID], *,
        depth: int, now_ms: int,
    ) -> Pdu:  # fmt: skip
        try:
            return build(
                draft, version=version, prev_events=prev_events, auth_events=auth_events, depth=depth, now_ms=now_ms,
                server_name=self.server_name, key=self.key,
                opaque_id="" if version.event_id_is_hash else self.ids.letters(18),
            )  # fmt: skip
        except EventTooLarge as error:
            raise TooLarge(f"The event is too large: {error}") from error
        except (BadEvent, NotCanonical) as error:
            raise BadJson(f"The event is not valid: {error}") from error

    def _check(self, pdu: Pdu, auth_state: Mapping[tuple[str, str], Pdu], create: Pdu | None) -> None:
        try:
            check(pdu, auth_state, create=create)
        except Rejected as error:
            if pdu.type != MEMBER and _membership(auth_state.get((MEMBER, pdu.sender))) != Membership.JOIN:
                # In the words that are used where there is no such room.
                raise Forbidden(NOT_IN_ROOM) from error
            raise Forbidden(_sentence(error)) from error

    def _store(self, turn: Turn, pdu: Pdu, replaced: Event | None) -> Event:
        tx = turn.tx
        nid = EventNid(tx.position())
        slot: SlotNid | None = None
        stripped = None
        if pdu.state_key is not None:
            if pdu.type == MEMBER and pdu.content.get("membership") in ("invite", "knock"):
                stripped = self._stripped_state(turn, pdu.sender)
            slot = self.names.intern_slot(tx, pdu.type, pdu.state_key)
            turn.snapshot = self.snapshots.store(tx, turn.room.nid, turn.snapshot, {slot: nid})
        assert turn.snapshot is not None
        event = self.events.insert(
            tx, pdu, nid=nid, room=turn.room.nid, slot=slot, snapshot=turn.snapshot.nid,
            replaces=replaced.nid if replaced is not None else None,
        )  # fmt: skip
        moved = _becomes("join", event, replaced)
        turn.room = replace(
            turn.room, newest=nid, depth=pdu.depth, extremities=(nid,), snapshot=turn.snapshot.nid,
            joined=turn.room.joined + moved,
            invited=turn.room.invited + _becomes("invite", event, replaced),
        )  # fmt: skip
        rooms.advance(tx, turn.room)
        tx.fresh.put("room", turn.room.nid, turn.room)
        relations.store(tx, self.names, event)
        tx.after_commit(self.recent.add, event)
        if pdu.type == MEMBER and pdu.state_key is not None:
            self._store_membership(tx, event, stripped, moved)
        else:
            tx.after_commit(self.live.ring_room, nid, turn.room.nid)
        return event

    def _store_membership(self, tx: Write, event: Event, stripped: bytes | None, moved: int) -> None:
        user_id = UserID(event.state_key or "")
        user = self.names.intern_user(tx, user_id)
        membership = Membership(event.content["membership"])
        name, avatar = event.content.get("displayname"), event.content.get("avatar_url")
        memberships.store(
            tx, event.room, user, membership, event=event.nid, sender=event.sender_nid,
            display_name=_text(name), avatar_url=_text(avatar),
            stripped_state=stripped,
        )  # fmt: skip
        joined = membership is Membership.JOIN
        if joined:
            tx.after_commit(self.live.member_moved, event.nid, user, event.room, True)
        tx.after_commit(self.live.ring_room, event.nid, event.room)
        if not joined:
            tx.after_commit(self.live.member_moved, event.nid, user, event.room, False)
        for tell in self.movers if moved else ():
            tx.after_commit(tell, event.room, user, user_id, joined)

    def _stripped_state(self, turn: Turn, sender: UserID) -> bytes:
        """Return the stripped state of a room as a JSON list, with who invites."""
        conn = turn.tx.conn
        wanted = (*STRIPPED, (MEMBER, sender))
        slots = self.names.slots(conn, wanted)
        nids = [nid for pair in wanted if pair in slots and (nid := turn.state.get(slots[pair])) is not None]
        found = self.events.by_nids(conn, nids)
        return b"[" + b",".join(found[nid].stripped() for nid in nids) + b"]"

    # Redactions: https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions

    def _redaction_target(self, turn: Turn, pdu: Pdu) -> Event | None:
        """Return the event to redact, None if it is not here. Raises `Forbidden` if the sender may not."""
        target = self.events.by_id(turn.tx.conn, pdu.redacts) if pdu.redacts is not None else None
        if target is not None and target.room != turn.room.nid:
            raise Forbidden("The event to redact is in another room")
        own = target is not None and target.sender == pdu.sender
        if not own:
            levels = self.power_levels(turn)
            if levels.user_level(pdu.sender) < levels.redact:
                raise Forbidden("You may not redact events of others")
        return target

    def _redact(self, turn: Turn, target: Event, by: Event) -> None:
        tx = turn.tx
        if target.redacted_by is not None:
            return
        redacted = self.events.replace_redacted(tx, target, redact(target.pdu.fields, target.version), by.nid)
        relations.remove(tx, target)
        if target.type == MEMBER:
            memberships.forget_names(tx, target.nid)
        tx.after_commit(self.recent.replace, redacted)


def _text(value: object) -> str | None:
    # PostgreSQL's texts hold no NUL.
    return value.replace("\0", "") if isinstance(value, str) else None


def _membership(event: Pdu | None) -> object:
    return event.content.get("membership") if event is not None else None


def _becomes(membership: str, event: Event, replaced: Event | None) -> int:
    """Return by how much a state event changes the number of users with a membership: -1, 0 or 1."""
    if event.type != MEMBER or not event.is_state:
        return 0
    was = replaced is not None and replaced.content.get("membership") == membership
    return int(event.content.get("membership") == membership) - int(was)


def _sentence(error: ProtocolError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
