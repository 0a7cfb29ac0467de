"""One writer a room: drafts events on the newest head, asks the law, stores them, and tells who must know.

Everything here runs inside a write (see `homeserver.storage.database`): the decision and the storing are one
transaction, so nothing that was checked can have changed. The room's turn is the transaction itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from federation.core.auth.rules import check
from federation.core.auth.selection import CREATE, Slot, auth_slots
from federation.core.errors import BadEvent, EventTooLarge, ProtocolError, Rejected
from federation.core.errors import BadJson as NotCanonical
from federation.core.events.content import Membership, PowerLevels
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.core.policy import PolicyServer, is_exempt
from federation.core.room_versions import RoomVersion
from federation.core.signing import SigningKey
from homeserver.clock import Clock, Ids
from homeserver.errors import BadJson, Forbidden, TooLarge
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SlotNid
from homeserver.model.rooms import Room
from homeserver.services.access import NOT_IN_ROOM
from homeserver.services.current_state import MEMBER, NOBODY, STRIPPED, Changed, CurrentState
from homeserver.services.live import Live
from homeserver.services.policy.own import OwnPolicy, recommended_here
from homeserver.services.policy.recommendations import Answers, answers_of, policy_of
from homeserver.services.power import levels_in
from homeserver.services.recent import Recent
from homeserver.services.redactions import REDACTION, Redactions
from homeserver.services.resolution import Resolution
from homeserver.storage import awaited_events, relations, rooms
from homeserver.storage.database import Write
from homeserver.storage.events import Events, Standing
from homeserver.storage.names import Names
from homeserver.storage.snapshots import EMPTY, Snapshot, Snapshots, State, differing

__all__ = ["MEMBER", "STRIPPED", "Deliver", "Timeline", "Turn", "standing_in"]

MOST_PREV_EVENTS = 10
"""Extremities that an event of ours builds upon, at most."""
MOST_EXTREMITIES = 20
MOST_STEPS = 10
"""Soft-failed and rejected events in a row that are looked through for the extremities before them."""

Deliver = Callable[[Write, Event, frozenset[ServerName]], None]
"""Sees to it, inside the write, that other servers get an event."""


def _keep_here(_tx: Write, _event: Event, _servers: frozenset[ServerName]) -> None:
    """Deliver an event to nobody: this server is not federated."""


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
class _Ground:
    """On what an event of ours is built."""

    before: Snapshot
    prev_events: list[EventID]
    wanted: list[Slot]
    """What of the state authorises it."""
    state: Mapping[Slot, Event]
    """That, the create event, and what stands in the event's own slot."""


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
    resolution: Resolution
    current: CurrentState
    redactions: Redactions
    deliver: Deliver = _keep_here
    own_policy: OwnPolicy | None = None
    """This server's say as a policy server; None if it is none."""

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
        # A write that is done again makes the same room: its ID may be in an event that has been signed meanwhile.
        now = answers_of(tx).began_ms or self.clock.now_ms()
        draft = Draft(room_id, "m.room.create", sender, content, "")
        pdu = self._build(draft, version, (), (), depth=1, now_ms=now)
        # Where the ID is the event's hash, two rooms that someone makes alike in one millisecond would be the same one.
        while room_id is None and self.names.room(tx.conn, pdu.room_id) is not None:
            now += 1
            pdu = self._build(draft, version, (), (), depth=1, now_ms=now)
        turn = Turn(tx, rooms.create(tx, self.names, pdu.room_id, version, now), None)
        self._check(pdu, {}, None)
        self.store(turn, pdu, None)
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
        the rules do not allow it, `BadJson` or `TooLarge` if it is no event, and what keeps it from being recommended
        by the room's policy server: `Unsigned` if that has to be asked first.
        """
        tx = turn.tx
        ground = self._ground(turn, draft)
        old = ground.state.get((draft.type, draft.state_key)) if draft.state_key is not None else None
        if old is not None and old.sender == draft.sender and old.content == draft.content and old.redacted_by is None:
            return old
        pdu, before = self._recommended(turn, draft, ground)
        target = self._redaction_target(turn, pdu) if pdu.type == REDACTION else None
        there_before = self.current.servers.servers(tx.conn, turn.room.nid)
        event = self.store(turn, pdu, before)
        if target is not None:
            self.redactions.apply(tx, target, event)
        elif pdu.redacts is not None:
            awaited_events.add(tx, turn.room.nid, [pdu.redacts], event.nid)
        there = there_before | self.current.servers.servers(tx.conn, turn.room.nid) | _waiting(event, old)
        if len(there) > 1:
            self.deliver(tx, event, there - {self.server_name})
        return event

    def propose(self, turn: Turn, draft: Draft) -> Pdu:
        """Return an event that the room would take now, and store nothing. Raises what `append` raises."""
        return self._recommended(turn, draft, self._ground(turn, draft))[0]

    def _ground(self, turn: Turn, draft: Draft) -> _Ground:
        conn = turn.tx.conn
        prevs, before = self._build_upon(turn)
        wanted = auth_slots(draft.type, draft.sender, draft.state_key, draft.content, turn.room.version)
        standing = (draft.type, draft.state_key) if draft.state_key is not None else None
        slots = self.names.slots(conn, {*wanted, CREATE, *((standing,) if standing is not None else ())})
        nids = {pair: nid for pair, slot in slots.items() if (nid := before.state.get(slot)) is not None}
        found = self.events.by_nids(conn, {*nids.values(), *prevs})
        return _Ground(
            before, [found[nid].event_id for nid in prevs], wanted, {pair: found[nid] for pair, nid in nids.items()}
        )

    def _draft(self, turn: Turn, draft: Draft, ground: _Ground) -> Pdu:
        authorising = {pair: ground.state[pair] for pair in ground.wanted if pair in ground.state}
        pdu = self._build(
            draft, turn.room.version, ground.prev_events, [event.event_id for event in authorising.values()],
            depth=turn.room.depth + 1, now_ms=self.clock.now_ms(),
        )  # fmt: skip
        create = ground.state.get(CREATE)
        self._check(
            pdu, {pair: event.pdu for pair, event in authorising.items()}, create.pdu if create is not None else None
        )
        return pdu

    def _recommended(self, turn: Turn, draft: Draft, ground: _Ground) -> tuple[Pdu, Snapshot]:
        """Return the event, signed by the room's policy server if it uses one, and the state before it."""
        pdu = self._draft(turn, draft, ground)
        policy = policy_of(turn.tx, self.current, turn.room.nid, turn.state)
        if policy is None or is_exempt(pdu):
            return pdu, ground.before
        if policy.name == self.server_name:
            try:
                signed = recommended_here(turn.tx.conn, self.own_policy, policy, pdu)
            except EventTooLarge as error:
                raise TooLarge(f"The event is too large: {error}") from error
            if isinstance(signed, str):
                raise Forbidden(signed)
            return signed, ground.before
        return self._answered(turn, policy, pdu, ground, answers_of(turn.tx))

    def _answered(
        self, turn: Turn, policy: PolicyServer, pdu: Pdu, ground: _Ground, answers: Answers
    ) -> tuple[Pdu, Snapshot]:
        """Return what another server has signed for an event that would be allowed now.

        The room may have gone on while it was asked. A message may stand beside what has come; state is made anew, so
        that it undoes nothing that its sender has not seen.
        """
        for signed in answers.alike(policy, pdu):
            if (signed.prev_events, signed.auth_events) == (pdu.prev_events, pdu.auth_events):
                return signed, ground.before
            before = self._state_before(turn, signed) if not signed.is_state else None
            if before is not None:
                return signed, before
        raise answers.lacking(policy, pdu)

    def _state_before(self, turn: Turn, pdu: Pdu) -> Snapshot | None:
        """Return the state before an event, None if something that it builds upon is not here."""
        found = self.events.by_ids(turn.tx.conn, pdu.prev_events)
        nids = {event.snapshot for event in found.values() if event.snapshot is not None}
        if len(found) < len(pdu.prev_events):
            return None
        loaded = self.snapshots.load_many(turn.tx.conn, nids)
        return self.resolution.of(turn.tx, turn.room.nid, turn.room.version, loaded.values())

    def _build_upon(self, turn: Turn) -> tuple[tuple[EventNid, ...], Snapshot]:
        """Return the extremities on which the next event of ours builds, and the state before it."""
        prevs, snapshot = turn.room.extremities, turn.snapshot
        assert snapshot is not None
        if len(prevs) > MOST_PREV_EVENTS:
            prevs = tuple(sorted(prevs)[-MOST_PREV_EVENTS:])
            found = self.events.by_nids(turn.tx.conn, prevs).values()
            states = self.snapshots.load_many(turn.tx.conn, [event.snapshot for event in found if event.snapshot])
            snapshot = self.resolution.of(turn.tx, turn.room.nid, turn.room.version, states.values())
        return prevs, snapshot

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

    def store(
        self, turn: Turn, pdu: Pdu, before: Snapshot | None, *, known: Event | None = None, extremity: bool = True,
        shown: bool = True, replaces: EventNid | None = None,
    ) -> Event:  # fmt: skip
        """Store an accepted event, which came after the state `before`, and carry on what follows for the room.

        `known` is the event if it was stored without a place. Without `extremity` it is not built upon: what comes
        after it is here already. Without `shown` it gets no place in the timeline, unless it changes state.
        `replaces` is what stood in its slot, where that is not what the current state has.
        """
        tx, room, current = turn.tx, turn.room, turn.snapshot
        position = tx.position()
        nid = known.nid if known is not None else EventNid(position)
        slot = self.names.intern_slot(tx, pdu.type, pdu.state_key) if pdu.state_key is not None else None
        after = self.snapshots.store(tx, room.nid, before, {slot: nid}) if slot is not None else before
        assert after is not None
        extremities = self._extremities(turn, pdu, nid, after, itself=extremity)
        if extremities == (nid,):
            turn.snapshot = after
        else:
            standing = Standing(status=Status.ACCEPTED, slot=slot, snapshot=after.nid)
            self.events.expect(tx, pdu, nid=nid, room=room.nid, standing=standing)
            turn.snapshot = self._resolved(turn, extremities, nid, after)
        forked = (before.nid if before is not None else None) != room.snapshot or turn.snapshot.nid != after.nid
        replaced = current.state.get(slot) if current is not None and slot is not None else None
        changes: Changed = {slot: (replaced, nid)} if slot is not None and not forked else {}
        if forked and current is None:
            changes = {slot: (None, new) for slot, new in turn.snapshot.state.items()}
        elif forked and current is not None:
            changes = {
                slot: (current.state.get(slot), turn.snapshot.state.get(slot))
                for slot in differing(current, turn.snapshot)
            }
        standing = Standing(
            status=Status.ACCEPTED, place=position if shown or changes else None, slot=slot, snapshot=after.nid,
            room_snapshot=turn.snapshot.nid if forked else None, replaces=replaces or replaced,
            stood=standing_in(before, slot),
        )  # fmt: skip
        if known is not None:
            event = self.events.replace_standing(tx, known, standing)
        else:
            event = self.events.insert(tx, pdu, nid=nid, room=room.nid, standing=standing)
        self._advance(turn, event, extremities, changes)
        return event

    def show(self, turn: Turn, event: Event) -> Event:
        """Give a stored event that was held back its place in the timeline: now."""
        assert event.snapshot is not None
        standing = Standing(
            status=event.status, place=turn.tx.position(), slot=event.slot, snapshot=event.snapshot,
            room_snapshot=turn.room.snapshot, replaces=event.replaces, stood=event.stood,
        )  # fmt: skip
        event = self.events.replace_standing(turn.tx, event, standing)
        self._advance(turn, event, turn.room.extremities, {})
        return event

    def _advance(self, turn: Turn, event: Event, extremities: tuple[EventNid, ...], changes: Changed) -> None:
        """Store the room's new head, and tell of an event that has a place."""
        tx = turn.tx
        assert turn.snapshot is not None
        if event.place is not None:
            relations.store(tx, self.names, event)
            tx.after_commit(self.recent.add, event)
        moved = NOBODY
        if changes:
            moved = self.current.changed(tx, event.room, event.at, changes, turn.snapshot.state)
        elif event.place is not None:
            tx.after_commit(self.live.ring_room, event.place, event.room)
        turn.room = replace(
            turn.room, newest=max(turn.room.newest, event.place or 0), depth=max(turn.room.depth, event.depth),
            extremities=extremities, snapshot=turn.snapshot.nid, joined=turn.room.joined + moved.joined,
            invited=turn.room.invited + moved.invited,
        )  # fmt: skip
        rooms.advance(tx, turn.room)
        tx.fresh.put("room", turn.room.nid, turn.room)

    # Forward extremities

    def _resolved(self, turn: Turn, extremities: Sequence[EventNid], nid: EventNid, after: Snapshot) -> Snapshot:
        """Return the state of a room with several extremities, one of which may be the new event."""
        others = self.events.by_nids(turn.tx.conn, [other for other in extremities if other != nid])
        states = {event.snapshot for event in others.values() if event.snapshot is not None}
        loaded = list(self.snapshots.load_many(turn.tx.conn, states).values())
        if nid in extremities:
            loaded.append(after)
        return self.resolution.of(turn.tx, turn.room.nid, turn.room.version, loaded)

    def _extremities(
        self, turn: Turn, pdu: Pdu, nid: EventNid, after: Snapshot, *, itself: bool
    ) -> tuple[EventNid, ...]:
        """Return the room's extremities once an event has come: those that it does not build upon, and `itself`.

        Of more than `MOST_EXTREMITIES`, those go first that add nothing to the state. Where each adds something, the
        new event has to wait until someone builds upon it: state that everyone knows is not to be pushed out by a
        server that spreads its events.
        """
        conn, old = turn.tx.conn, turn.room.extremities
        if itself and len(old) == 1 and pdu.prev_events == (self.events.by_nid(conn, old[0]).event_id,):
            return (nid,)
        built_upon = self._built_upon(conn, pdu)
        kept = tuple(other for other in old if other not in built_upon)
        if not itself and kept:
            return kept
        if len(kept) < MOST_EXTREMITIES:
            return (*kept, nid)
        events = self.events.by_nids(conn, kept)
        states = {after.nid}
        for other in sorted(kept, reverse=True):
            snapshot = events[other].snapshot
            if snapshot in states:
                return (*(each for each in kept if each != other), nid)
            if snapshot is not None:
                states.add(snapshot)
        return kept

    def _built_upon(self, conn: Connection, pdu: Pdu) -> set[EventNid]:
        """Return what an event builds upon, also by way of events that are not built upon themselves."""
        found: set[EventNid] = set()
        level, steps = set(pdu.prev_events), 0
        while level and steps < MOST_STEPS:
            events = self.events.by_ids(conn, level)
            level = set()
            for event in events.values():
                if event.nid not in found:
                    found.add(event.nid)
                    if event.status in (Status.SOFT_FAILED, Status.REJECTED):
                        level.update(event.pdu.prev_events)
            steps += 1
        return found


def _waiting(event: Event, old: Event | None) -> set[ServerName]:
    """Return the server of a user whose invite or knock an event ends: it may not be in the room."""
    if event.type != MEMBER or old is None or old.content.get("membership") not in ("invite", "knock"):
        return set()
    # A further invite goes to that server in a request of its own.
    if event.content.get("membership") in ("invite", "knock") or event.sender == event.state_key:
        return set()
    return {server_of(UserID(event.state_key or ""))}


def standing_in(state: Snapshot | None, slot: SlotNid | None) -> EventNid | None:
    """Return what stands in a slot of a state, if there are both."""
    return state.state.get(slot) if state is not None and slot is not None else None


def _membership(event: Pdu | None) -> object:
    return event.content.get("membership") if event is not None else None


def _sentence(error: ProtocolError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
