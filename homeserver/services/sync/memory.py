"""The everyday sync answer, made from memory: somebody said something in a room, and those who wait are told.

It knows only the plain case: new messages, receipts and typing in rooms whose members did not change. For everything
else it gives up (`None`), and the answer is assembled from the database. Both say the same; a test holds them to it.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import orjson

from federation.core.ids import UserID
from homeserver.clock import Clock
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.filters import Filter
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.model.positions import PageToken, SyncToken
from homeserver.model.receipts import Receipt
from homeserver.model.sync import SyncRequest
from homeserver.services.account_data import AccountData
from homeserver.services.live import Feed, Live
from homeserver.services.push_rules import PushRules
from homeserver.services.receipts import event_contents
from homeserver.services.recent import Recent
from homeserver.services.rendering import splice
from homeserver.services.sync import pieces
from homeserver.services.sync.lazy import LazyMembers
from homeserver.services.sync.passing import Passing, presence_section, typing_event
from homeserver.services.sync.rooms import DEFAULT_LIMIT, MEMBER
from homeserver.services.sync.unread import MAIN, Counts, Unread, UnreadCounts
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.relations import relation_of
from homeserver.storage.snapshots import Snapshots

FRESH_MS = 1000
"""For so long what was written for one reader serves others; the `age` of events is off by no more."""
MOST_SHARED = 100
"""Timelines kept for other readers."""


NONE = Counts()
_STATE_NAMES = {name: b',"%b":' % name.encode() for name in ("state", "state_after", "org.matrix.msc4222.state_after")}


class _GiveUp(Exception):
    """Memory does not hold what the answer needs."""


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The newest events of a room, as all see them who have sent none of them and filter nothing."""

    made_at: int
    raw: list[Event]
    body: bytes
    senders: frozenset[UserNid]


@dataclass(frozen=True, slots=True)
class FromMemory:
    """Makes answers without the database."""

    names: Names
    events: Events
    snapshots: Snapshots
    recent: Recent
    live: Live
    own_data: AccountData
    push_rules: PushRules
    unread: UnreadCounts
    lazy: LazyMembers
    clock: Clock
    boot: str
    _shared: OrderedDict[tuple[RoomNid, EventNid], _Timeline] = field(default_factory=OrderedDict)
    """By the room and the first event."""

    def quiet_since(self, request: SyncRequest, feed: Feed) -> SyncToken | None:
        """Return the token of an answer that has nothing to tell, or None if there may be something."""
        since = request.since
        if (
            since is None
            or request.full_state
            or feed.newest > since.position
            or feed.newest_ephemeral > since.ephemeral
            or since.position < feed.began
            or since.to_device != since.position
            or since.boot != self.boot
        ):
            return None
        position = max(self.live.position, since.position)
        return SyncToken(position, self.live.ephemeral, self.boot, position)

    def answer(
        self, request: SyncRequest, since: SyncToken, feed: Feed, passing: Passing
    ) -> tuple[bytes, SyncToken] | None:
        """Return the answer (`{}` as its rooms if there are none) and its token, or None if it takes the database."""
        if (
            since.position < feed.began
            or feed.personal > since.position
            or since.to_device != since.position
            or since.boot != self.boot
            or request.filter.event_fields is not None
            or request.filter.event_format != "client"
        ):
            return None
        # The client may have read of a commit that nobody was told of yet, or of a number that stands for nothing.
        position = max(self.live.position, since.position)
        token = SyncToken(position, passing.serial, self.boot, position)
        ignored = self.own_data.known_ignored(request.who.user)
        if ignored is None:
            return None
        try:
            rooms = self._rooms(request, since, feed, passing, ignored, position)
        except _GiveUp:
            return None
        presence = presence_section(passing.presence, request.filter.presence, ignored)
        if not rooms and presence is None:
            return b"", token
        parts = [b'{"next_batch":"', str(token).encode(), b'"']
        if rooms:
            parts += [b',"rooms":{"join":', pieces.mapped(rooms), b"}"]
        if presence is not None:
            parts += [b',"presence":', presence]
        parts.append(b"}")
        return b"".join(parts), token

    def _rooms(
        self, request: SyncRequest, since: SyncToken, feed: Feed, passing: Passing, ignored: Collection[UserID],
        position: int,
    ) -> list[tuple[str, bytes]]:  # fmt: skip
        typing: dict[RoomNid, bytes] = {}
        if request.filter.room.ephemeral.wants("m.typing"):
            typing = {room: typing_event(typists, ignored) for room, typists in passing.typing_changed.items()}
        changed = feed.changed_since(since.position)
        changed += [room for room in typing if room not in changed]
        found = [self._room(request, since, room, typing.get(room), ignored, position) for room in changed]
        return [ready for ready in found if ready is not None]

    def _room(
        self, request: SyncRequest, since: SyncToken, room: RoomNid, typing: bytes | None, ignored: Collection[UserID],
        position: int,
    ) -> tuple[str, bytes] | None:  # fmt: skip
        wanted = request.filter
        raw = self.recent.since(room, since.position)
        if raw is None:
            raise _GiveUp
        room_id = self.names.known_room_id(room)
        if room_id is None:
            raise _GiveUp
        if not wanted.room.wants_room(room_id):
            return None
        ephemeral = self._receipts(request.who, self.recent.receipts_since(room, since.position), ignored)
        if not wanted.room.ephemeral.wants("m.receipt"):
            ephemeral = []
        if typing is not None:
            ephemeral.append(typing)
        if not wanted.room.ephemeral.wants_room(room_id):
            ephemeral = []
        if not raw and not ephemeral:
            return None
        timeline, shown = self._timeline(request, since, raw, ignored)
        state = self._senders(request.who, wanted, shown, since.position, position)
        unread = self._unread(request.who, room, ignored)
        by_thread = wanted.room.timeline.unread_thread_notifications
        counted = unread.threads.get(MAIN, NONE) if by_thread else unread.total()
        parts = [
            b'{"timeline":',
            timeline,
            _STATE_NAMES[request.state_after or "state"],
            pieces.events(state),
            b',"ephemeral":',
            pieces.events(ephemeral),
            b',"account_data":{"events":[]},"unread_notifications":',
            counted.as_json(),
        ]
        if by_thread:
            threads = [(thread, one.as_json()) for thread, one in unread.threads.items() if thread != MAIN]
            if threads:
                parts += [b',"unread_thread_notifications":', pieces.mapped(threads)]
        parts.append(b"}")
        return room_id, b"".join(parts)

    def _timeline(
        self, request: SyncRequest, since: SyncToken, raw: list[Event], ignored: Collection[UserID]
    ) -> tuple[bytes, list[Event]]:
        """Return the timeline and the events in it. What one reader gets serves the others who get the same."""
        who, wanted = request.who, request.filter.room.timeline
        limit = min(wanted.limit or DEFAULT_LIMIT, 1000)
        if not raw:
            return _written([], since.position), raw
        if len(raw) > limit:
            raise _GiveUp
        now_ms = self.clock.now_ms()
        key = (raw[0].room, raw[0].nid)
        same = self._shared.get(key)
        # Events that were redacted meanwhile are others.
        if same is None or same.raw != raw or now_ms - same.made_at > FRESH_MS:
            _check_plain(raw)
            body = _written(
                (splice(event, now_ms=now_ms, membership="join", room_id=False) for event in raw), raw[0].at - 1
            )
            same = self._shared[key] = _Timeline(now_ms, raw, body, frozenset(event.sender_nid for event in raw))
            if len(self._shared) > MOST_SHARED:
                self._shared.popitem(last=False)
        if who.user not in same.senders and not ignored and wanted.passes_all:
            return same.body, raw
        shown = [event for event in raw if wanted.matches(event) and event.sender not in ignored]
        return _written((self._own(who, event, now_ms) for event in shown), raw[0].at - 1), shown

    def _own(self, who: Requester, event: Event, now_ms: int) -> bytes:
        own = event.sender_nid == who.user
        transaction_id = self.recent.transaction_id(event.nid, who.device) if own else None
        return splice(event, now_ms=now_ms, membership="join", room_id=False, transaction_id=transaction_id)

    def _receipts(self, who: Requester, found: list[Receipt], ignored: Collection[UserID]) -> list[bytes]:
        user_ids: dict[UserNid, UserID] = {}
        newest: dict[tuple[UserNid, str], Receipt] = {}
        for receipt in found:
            user_id = self.names.known_user_id(receipt.user)
            # What the user has read themselves changes their counts.
            if user_id is None or receipt.user == who.user:
                raise _GiveUp
            user_ids[receipt.user] = user_id
            newest.pop((receipt.user, receipt.thread), None)
            newest[receipt.user, receipt.thread] = receipt
        shown = [receipt for receipt in newest.values() if user_ids[receipt.user] not in ignored]
        return [pieces.typed("m.receipt", orjson.dumps(content)) for content in event_contents(shown, user_ids)]

    def _senders(self, who: Requester, wanted: Filter, shown: list[Event], since: int, position: int) -> list[bytes]:
        """Return the membership of senders whom a device that loads members lazily has not been told of."""
        if not wanted.room.state.lazy_load_members:
            return []
        told: dict[EventNid, Event] = {}
        for event in shown:
            slot = self.names.known_slot(MEMBER, event.sender)
            state = self.snapshots.known_state(event.snapshot) if event.snapshot is not None else None
            nid = state.get(slot) if state is not None and slot is not None else None
            if nid is None:
                raise _GiveUp
            if not wanted.room.state.include_redundant_members and self.lazy.knows(who.device, nid, since):
                continue
            member = self.events.known(nid)
            if member is None or member.redacted_by is not None:
                raise _GiveUp
            told[nid] = member
        self.lazy.told(who.device, told, position)
        now_ms = self.clock.now_ms()
        return [
            splice(event, now_ms=now_ms, membership=None, room_id=False)
            for _, event in sorted(told.items())
            if wanted.room.state.matches(event)
        ]

    def _unread(self, who: Requester, room: RoomNid, ignored: Collection[UserID]) -> Unread:
        known = self.unread.remembered(who.user, room)
        if known is None or known.rules is not self.push_rules.known(who.user) or known.ignored != ignored:
            raise _GiveUp
        since_counted = self.recent.since(room, known.counted_to)
        if since_counted is None or any(
            receipt.user == who.user for receipt in self.recent.receipts_since(room, known.counted_to)
        ):
            raise _GiveUp
        if not since_counted:
            return known
        grown = self.unread.grown(who.user, known, since_counted)
        if grown is None:
            raise _GiveUp
        return grown


def _written(items: Iterable[bytes], before: int) -> bytes:
    """Return a timeline of ready events that begins after a position."""
    return b'{"events":%b,"limited":false,"prev_batch":"%b"}' % (pieces.listed(items), str(PageToken(before)).encode())


def _check_plain(events: list[Event]) -> None:
    """Give up on what needs more than the events themselves."""
    ids = {event.event_id for event in events} if len(events) > 1 else set()
    for event in events:
        if event.is_state or event.redacted_by is not None or event.snapshot is None or event.room_snapshot is not None:
            raise _GiveUp
        if ids and (relation := relation_of(event.content)) is not None and relation[1] in ids:
            raise _GiveUp
