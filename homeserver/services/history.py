"""Reading a room's past: pages of messages, single events, what is around an event, what was said at a time.

Source: https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import EventID, RoomID, UserID
from homeserver.errors import Forbidden, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.filters import RoomEventFilter
from homeserver.model.nids import EventNid
from homeserver.services.account_data import AccountData
from homeserver.services.backfilling import Backfilling
from homeserver.services.pages import Page, Span, collect
from homeserver.services.rendering import Rendering
from homeserver.services.visibility import MEMBER, Reach, Seen, Visibility
from homeserver.storage import memberships, moments
from homeserver.storage.database import Database
from homeserver.storage.events import FIRST, LAST, Events, in_order
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

T = TypeVar("T")

MOST_LOOKED_AT = 5000
"""Events that a search by time looks at, at most, for one that the reader may see."""
BATCH = 100
MOST_FETCHES = 3
"""How often more of a room's past is fetched for one page: what comes may be hidden from the reader, or filtered."""


@dataclass(frozen=True, slots=True)
class Messages:
    """A page of a room's history, each event as JSON."""

    chunk: list[bytes]
    state: list[bytes]
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Context:
    """An event with what was before and after it, each as JSON, and the state at the last of them."""

    event: bytes
    before: list[bytes]
    after: list[bytes]
    state: list[bytes]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class History:
    """Reads rooms for their users."""

    db: Database
    names: Names
    events: Events
    snapshots: Snapshots
    visibility: Visibility
    rendering: Rendering
    account_data: AccountData
    older: Backfilling | None = None
    """Fetches what was before; None if this server speaks with no others."""

    async def messages(self, who: Requester, room_id: RoomID, span: Span, wanted: RoomEventFilter) -> Messages:
        """Return a page of the history that a user may see. Raises `Forbidden`.

        Where that ends because this server came into the room later, others are asked for what was before.
        """

        def read(conn: Connection) -> tuple[Messages, bool]:
            reach = self.visibility.reach(conn, who.user, room_id)
            ignored = self.account_data.ignored(conn, [who.user])[who.user]
            if not wanted.wants_room(room_id):
                return Messages([], [], span.start or 0, None), False
            page = self._page(conn, who, reach, span, wanted, ignored)
            state: list[bytes] = []
            if wanted.lazy_load_members:
                members = self._members_of_senders(conn, page.found)
                state = self.rendering.state(conn, who, members, room_id=True, ignored=ignored)
            chunk = self.rendering.render(conn, who, page.found, room_id=True, ignored=ignored)
            end = page.end
            lacking = span.backwards and page.ran_out and self.older is not None and self.older.lacks(conn, room_id)
            if lacking and page.found and len(page.found) >= span.limit:
                end, lacking = page.found[-1].event.at - 1, False
            return Messages(chunk, state, page.start, end), lacking

        for _ in range(MOST_FETCHES):
            found, lacking = await self.db.read(read)
            if not lacking or self.older is None or not await self.older.older(room_id):
                break
        return found

    async def event(self, who: Requester, room_id: RoomID, event_id: EventID) -> bytes:
        """Return one event. Raises `NotFound` also where the user may not see it."""

        def read(conn: Connection) -> bytes:
            ignored = self.account_data.ignored(conn, [who.user])[who.user]
            seen = self._one(conn, who, self._user_reach(conn, who, room_id), room_id, event_id, ignored)
            return self.rendering.render(conn, who, [seen], room_id=True, ignored=ignored)[0]

        return await self._fetching(who, room_id, event_id, read)

    async def context(
        self, who: Requester, room_id: RoomID, event_id: EventID, limit: int, wanted: RoomEventFilter
    ) -> Context:
        """Return an event with up to `limit` events around it.

        Raises `Forbidden` for the room, `NotFound` for the event.
        """

        def read(conn: Connection) -> Context:
            ignored = self.account_data.ignored(conn, [who.user])[who.user]
            reach = self.visibility.reach(conn, who.user, room_id)
            centre = self._one(conn, who, reach, room_id, event_id, ignored)
            place = centre.event.at
            before, after = Page([], place - 1, None), Page([], place, None)
            if limit > 0:
                back = Span(True, place - 1, None, limit - limit // 2)
                before = self._page(conn, who, reach, back, wanted, ignored)
            if limit > 1:
                on = Span(False, place, None, limit // 2)
                after = self._page(conn, who, reach, on, wanted, ignored)

            around = [centre, *before.found, *after.found]
            rendered = self.rendering.render(conn, who, around, room_id=True, ignored=ignored)
            middle = 1 + len(before.found)
            state = self._state_at(conn, after.found[-1] if after.found else centre, around, wanted)
            return Context(
                rendered[0], rendered[1:middle], rendered[middle:],
                self.rendering.state(conn, who, state, room_id=True, ignored=ignored),
                min(each.event.at for each in around) - 1, max(each.event.at for each in around),
            )  # fmt: skip

        return await self._fetching(who, room_id, event_id, read)

    async def _fetching(self, who: Requester, room_id: RoomID, event_id: EventID, read: Callable[[Connection], T]) -> T:
        """Return what is read of an event, fetching the room's past up to it if need be."""
        try:
            return await self.db.read(read)
        except NotFound:
            older = self.older
            if older is None or not await self.db.read(lambda conn: self._may_ask(conn, who, room_id, event_id)):
                raise
            if not await older.until(room_id, event_id):
                raise
        return await self.db.read(read)

    def _may_ask(self, conn: Connection, who: Requester, room_id: RoomID, event_id: EventID) -> bool:
        """Return whether others are to be asked for an event: by who is in the room, for what is not here."""
        room = self.names.room(conn, room_id)
        standing = memberships.of_user_in(conn, room, who.user) if room is not None else None
        if standing is None or standing.membership is not Membership.JOIN:
            return False
        event = self.events.by_id(conn, event_id)
        return event is None or event.place is None

    async def at_time(self, who: Requester, room_id: RoomID, ts: int, *, backwards: bool) -> tuple[EventID, int]:
        """Return the event nearest to a time, from it on or back, and its timestamp.

        Raises `Forbidden` for the room, `NotFound` if there is none that the user may see.
        """

        def read(conn: Connection) -> Event | None:
            reach = self.visibility.reach(conn, who.user, room_id)
            ignored = self.account_data.ignored(conn, [who.user])[who.user]
            moment, beyond = ts, LAST if backwards else FIRST
            for _ in range(MOST_LOOKED_AT // BATCH):
                near = moments.near(conn, reach.room, moment, beyond, reach.until, limit=BATCH, backwards=backwards)
                nids = [nid for nid, _, _ in near]
                batch = in_order(self.events.by_nids(conn, nids), nids)
                seen = self.visibility.seen(conn, reach.user, who.user_id, batch, ignored)
                if seen:
                    return seen[0].event
                if len(near) < BATCH:
                    break
                _, beyond, moment = near[-1]
            return None

        found = await self.db.read(read)
        if self.older is not None and await self.older.near(room_id, ts, backwards=backwards, found=found):
            found = await self.db.read(read)
        if found is None:
            direction = "backward" if backwards else "forward"
            raise NotFound(f"Unable to find an event from {ts} in {direction} direction")
        return found.event_id, found.sent_at

    def _page(
        self, conn: Connection, who: Requester, reach: Reach, span: Span, wanted: RoomEventFilter,
        ignored: Collection[UserID],
    ) -> Page:  # fmt: skip
        def fetch(after: int | None, until: int, limit: int) -> Sequence[Event]:
            return self.events.in_room(
                conn, reach.room, after=after, until=until, limit=limit, newest_first=span.backwards
            )

        return collect(conn, self.visibility, who, reach, span, fetch, wanted, ignored)

    def _user_reach(self, conn: Connection, who: Requester, room_id: RoomID) -> Reach | None:
        try:
            return self.visibility.reach(conn, who.user, room_id)
        except Forbidden:
            # What was world-readable when it was sent remains so.
            return None

    def _one(
        self, conn: Connection, who: Requester, reach: Reach | None, room_id: RoomID, event_id: EventID,
        ignored: Collection[UserID],
    ) -> Seen:  # fmt: skip
        event = self.events.by_id(conn, event_id)
        if event is not None and event.room_id == room_id:
            user = reach.user if reach is not None else None
            for seen in self.visibility.seen(conn, user, who.user_id, [event], ignored):
                return seen
        raise NotFound("Event not found")

    def _members_of_senders(self, conn: Connection, page: Sequence[Seen]) -> list[Event]:
        """Return the membership of each sender at the oldest of their events on a page.

        Source: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
        """
        oldest: dict[UserID, Event] = {}
        for seen in sorted(page, key=lambda each: each.event.at):
            oldest.setdefault(seen.event.sender, seen.event)
        slots = self.names.slots(conn, [(MEMBER, sender) for sender in oldest])
        snapshots = {event.snapshot for event in oldest.values() if event.snapshot is not None}
        order = list(slots.values())
        standing = self.snapshots.standing(conn, snapshots, order)
        nids: list[EventNid] = []
        for sender, event in oldest.items():
            slot = slots.get((MEMBER, sender))
            if slot is not None and event.snapshot is not None:
                nid = standing[event.snapshot][order.index(slot)]
                nids += [nid] if nid is not None else []
        return in_order(self.events.by_nids(conn, nids), nids)

    def _state_at(self, conn: Connection, last: Seen, around: Iterable[Seen], wanted: RoomEventFilter) -> list[Event]:
        snapshot = last.event.snapshot
        assert snapshot is not None
        nids = sorted(self.snapshots.state(conn, snapshot).values())
        state = in_order(self.events.by_nids(conn, nids), nids)
        senders = {seen.event.sender for seen in around}
        return [
            event
            for event in state
            if wanted.matches(event)
            and not (wanted.lazy_load_members and event.type == MEMBER and event.state_key not in senders)
        ]
