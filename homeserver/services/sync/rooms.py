"""The rooms of a sync answer: which changed, their timelines, the state that the client needs besides.

Everything is gathered for all rooms at once: the number of queries does not depend on how many rooms there are.
Source: https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from federation.core.events.content import Membership
from homeserver.model.events import Event
from homeserver.model.filters import Filter
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid
from homeserver.model.rooms import Room, RoomMembership
from homeserver.services.visibility import Seen, Visibility
from homeserver.storage import timelines
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import EMPTY, Snapshots, State

MEMBER = "m.room.member"
DEFAULT_LIMIT = 10
MOST_EVENTS = 1000
"""Events of one room in an answer, whatever the filter says."""
ROUNDS = 3
"""How often older events are fetched for a room whose newest ones the filter hides."""


@dataclass(slots=True)
class RoomPart:
    """One room of the answer while it is being put together."""

    room: Room
    standing: RoomMembership
    until: int
    after: int
    """The timeline starts after this position; 0 for a room that the client does not know."""
    full: bool
    """The client gets the whole state and not what changed."""
    raw: list[Event] = field(default_factory=list)
    """All events of the window, oldest first, before filters."""
    timeline: list[Seen] = field(default_factory=list)
    limited: bool = False
    start: int = 0
    """The page token of the timeline's start: events after it are in the timeline."""
    state: dict[SlotNid, EventNid] = field(default_factory=dict)
    only_own: bool = False
    """The user was never joined: of the timeline they see their own membership and nothing else."""
    again: bool = False
    """The user has come back: what the client has of the room's timeline does not lead up to this one."""
    epilogue: Event | None = None
    """The user's own membership after what they saw: they had left, and were banned afterwards."""

    @property
    def forked(self) -> bool:
        """Whether state may have changed in the window as no event of it tells: branches of the room have met."""
        return any(event.room_snapshot is not None for event in self.raw)

    @property
    def first(self) -> Event | None:
        """The first event of the timeline, before filters."""
        return next((event for event in self.raw if event.at > self.start), None)


@dataclass(frozen=True, slots=True)
class RoomGatherer:
    """Finds timelines and state for the rooms of one answer."""

    names: Names
    events: Events
    snapshots: Snapshots
    visibility: Visibility

    def fill_timelines(
        self,
        conn: Connection,
        parts: Collection[RoomPart],
        reader: tuple[int, str],
        wanted: Filter,
        ignored: frozenset[str],
    ) -> None:
        """Fetch the newest events of each room, filtered and visible, as many as the filter wants."""
        limit = min(wanted.room.timeline.limit or DEFAULT_LIMIT, MOST_EVENTS)
        waiting = list(parts)
        fetch = limit + 1
        for last_round in (False,) * (ROUNDS - 1) + (True,):
            if not waiting:
                return
            self._fetch(conn, waiting, fetch)
            passing = {part.room.nid: [e for e in part.raw if wanted.room.timeline.matches(e)] for part in waiting}
            seen = self._seen(conn, waiting, passing, reader, ignored)
            again = []
            for part in waiting:
                exhausted = len(part.raw) < fetch
                found = seen.get(part.room.nid, [])
                if not exhausted and len(found) < limit and not last_round:
                    again.append(part)
                    continue
                _cut(part, found, limit, exhausted)
                _end(part, wanted)
            waiting, fetch = again, min(fetch * 5, MOST_EVENTS * 2)

    def _fetch(self, conn: Connection, parts: Collection[RoomPart], fetch: int) -> None:
        groups: dict[tuple[int, int], list[RoomPart]] = {}
        for part in parts:
            groups.setdefault((part.after, part.until), []).append(part)
        nids: dict[RoomNid, list[EventNid]] = {}
        for (after, until), group in groups.items():
            nids |= timelines.newest(conn, [part.room.nid for part in group], after=after, until=until, limit=fetch)
        loaded = self.events.by_nids(conn, [nid for found in nids.values() for nid in found])
        for part in parts:
            part.raw = [loaded[nid] for nid in reversed(nids.get(part.room.nid, []))]

    def _seen(
        self, conn: Connection, parts: Iterable[RoomPart], passing: Mapping[RoomNid, list[Event]],
        reader: tuple[int, str], ignored: frozenset[str],
    ) -> dict[RoomNid, list[Seen]]:  # fmt: skip
        asked: list[Event] = []
        for part in parts:
            events = passing[part.room.nid]
            if part.only_own:
                events = [event for event in events if event.nid == part.standing.event]
            asked += events
        found: dict[RoomNid, list[Seen]] = {}
        for one in self.visibility.seen(conn, *reader, asked, ignored):  # type: ignore[arg-type]
            found.setdefault(one.event.room, []).append(one)
        return found

    def fill_states(self, conn: Connection, parts: Collection[RoomPart], *, at_end: bool) -> None:
        """Work out for each room what state the client lacks before its timeline, or at its end."""
        known_at = [part for part in parts if not part.full and (part.limited or part.forked)]
        before = timelines.states_at(conn, [part.room.nid for part in known_at], known_at[0].after) if known_at else {}
        # What stood before an event that came to a forked room does not follow from what stood after it.
        forked = {part.room.nid: part.first.at - 1 for part in parts if part.forked and part.first is not None}
        starts = timelines.states_at_places(conn, forked) if forked and not at_end else {}
        ends = {
            part.room.nid: snapshot
            for part in parts
            if (snapshot := _snapshot_at_end(part)) is not None and (part.full or part.limited or part.forked or at_end)
        }
        self.snapshots.load_many(
            conn, {*before.values(), *starts.values(), *ends.values(), *_snapshots_at_start(parts)}
        )
        for part in parts:
            room = part.room.nid
            if part.only_own:
                own = [seen.event for seen in part.timeline] if at_end else []
                part.state = {event.slot: event.nid for event in own if event.slot is not None}
                continue
            end = self._state(conn, ends.get(room))
            known = EMPTY if part.full else self._state(conn, before.get(room))
            if at_end and (part.full or part.limited or part.forked):
                part.state = _difference(known, end)
            elif at_end:
                changed = {event.slot for event in part.raw if event.slot is not None}
                part.state = {slot: end[slot] for slot in changed if slot in end}
            elif part.forked:
                start = self._state(conn, starts.get(room)) if part.full or part.limited else known
                part.state = _difference(known, start) | _untold(start, end, _shown(part))
            elif part.full or part.limited:
                part.state = _difference(known, self._at_start(conn, part, end))
            if not at_end and not part.forked:
                part.state |= _hidden_by_filter(part)
            last = part.epilogue
            if last is not None and last.slot is not None and (at_end or last.nid not in _shown(part)):
                part.state[last.slot] = last.nid

    def _state(self, conn: Connection, snapshot: SnapshotNid | None) -> State:
        return self.snapshots.state(conn, snapshot) if snapshot is not None else EMPTY

    def _at_start(self, conn: Connection, part: RoomPart, end: State) -> State:
        """Return the state before the first event of the timeline."""
        first = part.first
        if first is None or first.snapshot is None:
            return end
        state = self.snapshots.state(conn, first.snapshot)
        if first.slot is None:
            return state
        if first.replaces is None:
            return state.discard(first.slot)
        return state.insert(first.slot, first.replaces)


def _cut(part: RoomPart, found: list[Seen], limit: int, exhausted: bool) -> None:
    """Keep the newest `limit` events, and say where the timeline starts."""
    part.timeline = found[-limit:] if limit else []
    if len(found) > limit or not exhausted:
        part.limited = True
        first = part.timeline[0].event.at if part.timeline else None
        part.start = first - 1 if first is not None else (part.raw[-1].at if part.raw else part.until)
    else:
        part.limited = part.again or (part.after == 0 and bool(part.raw) and part.raw[0].type != "m.room.create")
        part.start = part.raw[0].at - 1 if part.raw else max(part.after, 0)


def _end(part: RoomPart, wanted: Filter) -> None:
    """Let the timeline of someone who has left end with how they stand to the room now."""
    last = part.epilogue
    if last is not None and last.nid not in _shown(part) and wanted.room.timeline.matches(last):
        part.timeline.append(Seen(last, str(part.standing.membership)))


def _snapshot_at_end(part: RoomPart) -> SnapshotNid | None:
    """Return the state at the end of the timeline: the current one, or that of the event by which the user left."""
    if part.standing.membership is Membership.JOIN or not part.raw:
        return part.room.snapshot
    return part.raw[-1].state_then


def _snapshots_at_start(parts: Iterable[RoomPart]) -> set[SnapshotNid]:
    found = set()
    for part in parts:
        if part.full or part.limited:
            first = part.first
            if first is not None and first.snapshot is not None:
                found.add(first.snapshot)
    return found


def _difference(known: State, wanted: State) -> dict[SlotNid, EventNid]:
    return {slot: nid for slot, nid in wanted.items() if known.get(slot) != nid}


def _untold(start: State, end: State, shown: Container[EventNid]) -> dict[SlotNid, EventNid]:
    """Return what stands at the end of a timeline, did not at its start, and is not in it."""
    return {slot: nid for slot, nid in _difference(start, end).items() if nid not in shown}


def _hidden_by_filter(part: RoomPart) -> dict[SlotNid, EventNid]:
    """Return state that changed within the timeline's window and is not in the timeline, so that it is not lost."""
    shown = _shown(part)
    found: dict[SlotNid, EventNid] = {}
    for event in part.raw:
        if event.slot is None or event.at <= part.start:
            continue
        if event.nid in shown:
            found.pop(event.slot, None)
        else:
            found[event.slot] = event.nid
    return found


def _shown(part: RoomPart) -> set[EventNid]:
    return {seen.event.nid for seen in part.timeline}
