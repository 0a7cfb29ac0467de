"""Which events of a room a user may see: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility.

Every way to read an event leads through here. A page of events costs a constant number of queries, whatever is on it.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import Connection

from federation.core.events.content import HistoryVisibility, Membership, history_visibility_of
from federation.core.ids import RoomID, UserID
from homeserver.errors import Forbidden
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid, UserNid
from homeserver.model.rooms import RoomMembership
from homeserver.services.access import NOT_IN_ROOM
from homeserver.storage import memberships, rooms
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

MEMBER = "m.room.member"
HISTORY_VISIBILITY = ("m.room.history_visibility", "")


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that the reader may see, and their membership at that point, counting the event itself."""

    event: Event
    membership: str


@dataclass(frozen=True, slots=True)
class Reach:
    """How far someone looks into a room; within it, each event still passes `Visibility.seen`."""

    room: RoomNid
    user: UserNid | None
    """None for someone who is nobody in the room: world-readable events only."""
    snapshot: SnapshotNid
    """The state that they are shown as the room's: the current one, or that in which they left."""
    until: int
    """The place of the newest event that there is for them: the room's, or the one with which they left."""


class _Answer(IntEnum):
    NO = 0
    IF_JOINED_SINCE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class _At:
    """What counts at one point of a room's history."""

    visibility: HistoryVisibility
    membership: str


@dataclass(frozen=True, slots=True)
class Visibility:
    """Decides who may see what of the rooms' past."""

    names: Names
    events: Events
    snapshots: Snapshots

    def reach(self, conn: Connection, user: UserNid, room_id: RoomID) -> Reach:
        """Return how far a user looks into a room.

        Raises `Forbidden` unless they are in it, have been in it, or anyone may look: one who was only invited may not.
        """
        room = self.names.room(conn, room_id)
        if room is None:
            raise Forbidden(NOT_IN_ROOM)
        standing = memberships.of_user_in(conn, room, user)
        head = rooms.load(conn, room)
        if head.snapshot is None:
            raise Forbidden(NOT_IN_ROOM)
        if standing is not None and standing.membership is Membership.JOIN:
            return Reach(room, user, head.snapshot, head.newest)
        stay = None
        if standing is not None and not standing.forgotten:
            stay = self._last_stays(conn, [standing]).get(room)
        open_to_all = self._is_world_readable(conn, head.snapshot)
        if standing is not None and stay is not None and (snapshot := stay[1].state_then or head.snapshot) is not None:
            left_at = stay[1].place if stay[1].place is not None else standing.position
            return Reach(room, user, snapshot, head.newest if open_to_all else left_at)
        if open_to_all:
            return Reach(room, None, head.snapshot, head.newest)
        raise Forbidden(NOT_IN_ROOM)

    def seen(
        self, conn: Connection, user: UserNid | None, user_id: UserID | None, events: Sequence[Event],
        ignored: Container[UserID] = (),
    ) -> list[Seen]:  # fmt: skip
        """Return those of the events that a user may see, in the order given; `user` None: that all the world may see.

        What ignored users sent is left out, but for state:
        https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-13.
        """
        shown = [
            event
            for event in events
            if event.status is Status.ACCEPTED
            and event.place is not None
            and event.snapshot is not None
            and (event.state_key is not None or event.sender not in ignored)
        ]
        if not shown:
            return []
        visibility_slot, member_slot = self._slots(conn, user_id if user is not None else None)
        slots = [slot for slot in (visibility_slot, member_slot) if slot is not None]
        snapshots = {event.snapshot for event in shown if event.snapshot is not None}
        standing = self.snapshots.standing(conn, snapshots, slots)
        wanted = {nid for entries in standing.values() for nid in entries if nid is not None}
        wanted.update(
            event.replaces
            for event in shown
            if event.slot is not None and event.slot in slots and event.replaces is not None
        )
        loaded = self.events.by_nids(conn, wanted)
        points = {
            snapshot: _point(dict(zip(slots, entries, strict=True)), loaded, visibility_slot, member_slot)
            for snapshot, entries in standing.items()
        }

        answers: list[tuple[Event, _At, _Answer]] = []
        for event in shown:
            assert event.snapshot is not None
            at = points[event.snapshot]
            answer = _answer(at)
            if event.slot is not None and event.slot in slots:
                answer = max(answer, _special(event, at, loaded, own=event.slot == member_slot))
            if answer:
                answers.append((event, at, answer))
        open_rooms = {event.room for event, _, answer in answers if answer is _Answer.IF_JOINED_SINCE}
        joined_until = self._joined_until(conn, user, open_rooms) if open_rooms and user is not None else {}
        return [
            Seen(event, at.membership)
            for event, at, answer in answers
            if answer is _Answer.YES or (event.room in joined_until and _is_before(event.at, joined_until[event.room]))
        ]

    def hidden_since(self, conn: Connection, user_id: UserID, event: Event) -> int | None:
        """Return the place of the last event before a hidden one that may have changed what the user sees, if any."""
        slots = [slot for slot in self._slots(conn, user_id) if slot is not None]
        if event.snapshot is None or not slots:
            return None
        entries = self.snapshots.standing(conn, [event.snapshot], slots)[event.snapshot]
        stood = self.events.by_nids(conn, [nid for nid in entries if nid is not None])
        if any(one.place is None for one in stood.values()):
            # Nobody knows where it took place: look at what comes next.
            return event.at - 1
        return max((one.at for one in stood.values() if one.at < event.at), default=None)

    def _slots(self, conn: Connection, user_id: UserID | None) -> tuple[SlotNid | None, SlotNid | None]:
        member = (MEMBER, user_id) if user_id is not None else None
        slots = self.names.slots(conn, [HISTORY_VISIBILITY, *((member,) if member is not None else ())])
        return slots.get(HISTORY_VISIBILITY), slots.get(member) if member is not None else None

    def _is_world_readable(self, conn: Connection, snapshot: SnapshotNid) -> bool:
        slot, _ = self._slots(conn, None)
        nid = self.snapshots.standing(conn, [snapshot], [slot])[snapshot][0] if slot is not None else None
        content = self.events.by_nid(conn, nid).content if nid is not None else None
        return history_visibility_of(content) is HistoryVisibility.WORLD_READABLE

    def _joined_until(self, conn: Connection, user: UserNid, in_rooms: Iterable[RoomNid]) -> dict[RoomNid, int | None]:
        """Return by room the place of the user's newest join; None as value for who is joined now."""
        standings = memberships.of_user_in_rooms(conn, user, in_rooms)
        found: dict[RoomNid, int | None] = dict.fromkeys(
            room for room, standing in standings.items() if standing.membership is Membership.JOIN
        )
        others = [standing for room, standing in standings.items() if room not in found]
        found.update((room, joined.place or 0) for room, (joined, _) in self._last_stays(conn, others).items())
        return found

    def _last_stays(self, conn: Connection, standings: Iterable[RoomMembership]) -> dict[RoomNid, tuple[Event, Event]]:
        """Return the newest join of a user who is not joined, and the event that ended it, by room.

        Leaves out the rooms that they never joined. One query for each step since then: banned, invited, declined.
        """
        found: dict[RoomNid, tuple[Event, Event]] = {}
        after: dict[RoomNid, Event] = {}
        nids = {standing.room: standing.began for standing in standings}
        while nids:
            events = self.events.by_nids(conn, nids.values())
            steps = {room: events[nid] for room, nid in nids.items() if nid in events}
            nids = {}
            for room, event in steps.items():
                if _membership_in(event) != Membership.JOIN:
                    after[room] = event
                    if event.replaces is not None:
                        nids[room] = event.replaces
                elif room in after:
                    found[room] = (event, after[room])
        return found


def _point(
    entries: Mapping[SlotNid, EventNid | None], loaded: Mapping[EventNid, Event], visibility_slot: SlotNid | None,
    member_slot: SlotNid | None,
) -> _At:  # fmt: skip
    visibility = entries.get(visibility_slot) if visibility_slot is not None else None
    member = entries.get(member_slot) if member_slot is not None else None
    return _At(
        history_visibility_of(loaded[visibility].content if visibility is not None else None),
        _membership_in(loaded.get(member) if member is not None else None),
    )


def _membership_in(event: Event | None) -> str:
    membership = event.content.get("membership") if event is not None else None
    return membership if isinstance(membership, str) else Membership.LEAVE


def _answer(at: _At) -> _Answer:
    """Answer by the rules in the order of the specification."""
    # 1, 2
    if at.visibility is HistoryVisibility.WORLD_READABLE or at.membership == Membership.JOIN:
        return _Answer.YES
    # 3
    if at.visibility is HistoryVisibility.SHARED:
        return _Answer.IF_JOINED_SINCE
    # 4; "a user needs to join a room to view events" holds for it, too.
    if at.visibility is HistoryVisibility.INVITED and at.membership == Membership.INVITE:
        return _Answer.IF_JOINED_SINCE
    return _Answer.NO


def _special(event: Event, at: _At, loaded: Mapping[EventNid, Event], *, own: bool) -> _Answer:
    """Answer for a change of the visibility or of the reader's own membership by what was before it."""
    before = loaded.get(event.replaces) if event.replaces is not None else None
    if not own:
        return _answer(_At(history_visibility_of(before.content if before is not None else None), at.membership))
    membership = _membership_in(before)
    if membership in (Membership.INVITE, Membership.KNOCK) and at.membership in (Membership.LEAVE, Membership.BAN):
        # Who was told of an invite is told of its end, or it would stand there for ever.
        return _Answer.YES
    return _answer(_At(at.visibility, membership))


def _is_before(place: int, joined: int | None) -> bool:
    return joined is None or place < joined
