"""The everyday sync answer, made from memory: somebody said something in a room, and those who wait are told.

It knows only the plain case: new messages, receipts and typing in rooms whose members did not change. For everything
else it gives up (`None`), and the answer is assembled from the database. Both say the same; a test holds them to it.
"""

from collections import OrderedDict
from collections.abc import Collection
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
"""For so long an event's bytes serve all readers; their `age` is off by no more."""
MOST_SPLICED = 2000


class _GiveUp(Exception):
    """Memory does not hold what the answer needs."""


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
    _spliced: OrderedDict[EventNid, tuple[int, bytes]] = field(default_factory=OrderedDict)

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
        sections: dict[str, bytes | None] = {
            "next_batch": orjson.dumps(str(token)),
            "rooms": pieces.mapped([("join", pieces.mapped(rooms))]) if rooms else None,
            "presence": presence,
        }
        return pieces.sections(sections), token

    def _rooms(
        self, request: SyncRequest, since: SyncToken, feed: Feed, passing: Passing, ignored: Collection[UserID],
        position: int,
    ) -> list[tuple[str, bytes]]:  # fmt: skip
        typing: dict[RoomNid, bytes] = {}
        if request.filter.room.ephemeral.wants("m.typing"):
            typing = {room: typing_event(typists, ignored) for room, typists in passing.typing_changed.items()}
        changed = {room for room, newest in feed.rooms_changed.items() if newest > since.position}
        found = (
            self._room(request, since, room, typing.get(room), ignored, position) for room in changed | typing.keys()
        )
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
        _check_plain(raw, min(wanted.room.timeline.limit or DEFAULT_LIMIT, 1000))
        shown = [event for event in raw if wanted.room.timeline.matches(event) and event.sender not in ignored]
        start = raw[0].at - 1 if raw else since.position
        timeline = pieces.mapped(
            (
                ("events", pieces.listed(self._rendered(request.who, event) for event in shown)),
                ("limited", b"false"),
                ("prev_batch", orjson.dumps(str(PageToken(start)))),
            )
        )
        state = self._senders(request.who, wanted, shown, since.position, position)
        unread = self._unread(request.who, room, ignored)
        by_thread = wanted.room.timeline.unread_thread_notifications
        counted = unread.threads.get(MAIN, Counts()) if by_thread else unread.total()
        sections: dict[str, bytes | None] = {
            "timeline": timeline,
            request.state_after or "state": pieces.events(state),
            "ephemeral": pieces.events(ephemeral),
            "account_data": b'{"events":[]}',
            "unread_notifications": counted.as_json(),
        }
        if by_thread:
            threads = [(thread, one.as_json()) for thread, one in unread.threads.items() if thread != MAIN]
            sections["unread_thread_notifications"] = pieces.mapped(threads) if threads else None
        return room_id, pieces.sections(sections)

    def _rendered(self, who: Requester, event: Event) -> bytes:
        now_ms = self.clock.now_ms()
        if event.sender_nid == who.user:
            transaction_id = self.recent.transaction_id(event.nid, who.device)
            return splice(event, now_ms=now_ms, membership="join", room_id=False, transaction_id=transaction_id)
        known = self._spliced.get(event.nid)
        if known is not None and now_ms - known[0] < FRESH_MS:
            return known[1]
        item = splice(event, now_ms=now_ms, membership="join", room_id=False)
        self._spliced[event.nid] = (now_ms, item)
        if len(self._spliced) > MOST_SPLICED:
            self._spliced.popitem(last=False)
        return item

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


def _check_plain(events: list[Event], limit: int) -> None:
    """Give up on what needs more than the events themselves."""
    if len(events) > limit:
        raise _GiveUp
    ids = {event.event_id for event in events} if len(events) > 1 else set()
    for event in events:
        if event.is_state or event.redacted_by is not None or event.snapshot is None or event.room_snapshot is not None:
            raise _GiveUp
        if ids and (relation := relation_of(event.content)) is not None and relation[1] in ids:
            raise _GiveUp
