"""Puts a whole sync answer together from one read of the database.

What the answer holds is fixed by the moment of that read: everything up to its position and nothing after it.
Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from federation.core.events.content import Membership
from homeserver.clock import Clock
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, SlotNid
from homeserver.model.positions import PageToken, SyncToken
from homeserver.model.receipts import Receipt
from homeserver.model.rooms import Room, RoomMembership
from homeserver.model.sync import SyncRequest
from homeserver.services.account_data import AccountData
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.push_rules import PushRules, event_content
from homeserver.services.receipts import event_contents
from homeserver.services.rendering import Rendering
from homeserver.services.sync import pieces
from homeserver.services.sync.lazy import LazyMembers
from homeserver.services.sync.passing import Passing, presence_section, typing_event
from homeserver.services.sync.rooms import MEMBER, RoomGatherer, RoomPart
from homeserver.services.sync.stays import departures, returned
from homeserver.services.sync.unread import MAIN, Counts, Reader, Unread, UnreadCounts
from homeserver.storage import account_data, heroes, memberships, push_rules, receipts, rooms, to_device
from homeserver.storage.database import current_position
from homeserver.storage.names import Names

MOST_TO_DEVICE = 100
"""To-device messages in one answer; the rest follows with the next."""
GONE = (Membership.LEAVE, Membership.BAN)
CURRENT = (Membership.JOIN, Membership.INVITE, Membership.KNOCK)


@dataclass(frozen=True, slots=True)
class Assembled:
    """An answer, whether there is anything in it, and the token it ends with."""

    body: bytes
    empty: bool
    token: SyncToken
    mail: int | None = None
    """The position of the last to-device message in it."""


@dataclass(frozen=True, slots=True)
class Assembler:
    """Reads what changed for a user and writes it as JSON."""

    names: Names
    gatherer: RoomGatherer
    rendering: Rendering
    unread: UnreadCounts
    lazy: LazyMembers
    push_rules: PushRules
    own_data: AccountData
    device_lists: DeviceLists
    clock: Clock
    boot: str

    def assemble(self, conn: Connection, request: SyncRequest, passing: Passing) -> Assembled:
        """Return the answer to a request, with what is in memory as it was looked up before."""
        answer = _Answer(self, conn, request, current_position(conn), passing)
        return answer.build()


class _Answer:
    """One answer in the making."""

    def __init__(
        self, parts: Assembler, conn: Connection, request: SyncRequest, position: int, passing: Passing
    ) -> None:
        self.on = parts
        self.conn = conn
        self.request = request
        self.who = request.who
        self.filter = request.filter
        self.position = position
        since = request.since
        self.since = since.position if since is not None else 0
        self.initial = since is None
        self.passing = passing
        self.now_ms = parts.clock.now_ms()
        self.ignored = parts.own_data.ignored(conn, [self.who.user])[self.who.user]

    def build(self) -> Assembled:
        """Return the answer."""
        rooms_part = self._rooms()
        device_messages, device_position, mail = self._to_device()
        sections: dict[str, bytes | None] = {
            "rooms": rooms_part,
            "account_data": self._account_data(),
            "presence": presence_section(self.passing.presence, self.filter.presence, self.ignored),
            "to_device": device_messages,
            "device_lists": self._device_lists(),
        }
        empty = not any(sections.values())
        token = SyncToken(self.position, self.passing.serial, self.on.boot, device_position)
        body = pieces.sections({"next_batch": orjson.dumps(str(token)), **sections})
        return Assembled(body, empty, token, mail)

    # What is not in rooms

    def _device_lists(self) -> bytes | None:
        if self.initial:
            return None
        return self.on.device_lists.section(self.conn, self.who.user, self.since, self.position)

    def _account_data(self) -> bytes | None:
        found = account_data.since(self.conn, self.who.user, self.since, self.position)
        rules = push_rules.of_user(self.conn, self.who.user)
        if self.initial or (rules is not None and rules[0] > self.since):
            content = event_content(rules[1] if rules is not None else None, self.who.user_id)
            found.append(("m.push_rules", orjson.dumps(content)))
        wanted = self.filter.account_data
        items = [pieces.typed(kind, content) for kind, content in found if wanted.wants(kind)]
        return pieces.events(items) if items else None

    def _to_device(self) -> tuple[bytes | None, int, int | None]:
        since = self.request.since
        after = since.to_device if since is not None else 0
        messages = to_device.pending(self.conn, self.who.device, after, self.position, MOST_TO_DEVICE)
        shown = [message for message in messages if message.sender not in self.ignored]
        upto = messages[-1].position if len(messages) == MOST_TO_DEVICE else self.position
        items = [
            pieces.mapped(
                (
                    ("content", message.content),
                    ("sender", orjson.dumps(message.sender)),
                    ("type", orjson.dumps(message.type)),
                )
            )
            for message in shown
        ]
        return (pieces.events(items) if items else None), upto, (messages[-1].position if messages else None)

    # Rooms

    def _rooms(self) -> bytes | None:
        include_leave = self.filter.room.include_leave
        standings = [
            standing
            for standing in memberships.of_user(self.conn, self.who.user, CURRENT, changed_after=self.since)
            # Other devices of whoever has left and forgotten a room at once still have to hear of it.
            if not standing.forgotten or not self.initial
        ]
        room_ids = self.on.names.room_ids(self.conn, [standing.room for standing in standings])
        standings = [s for s in standings if self.filter.room.wants_room(room_ids[s.room])]
        joined = [s for s in standings if s.membership is Membership.JOIN]
        left = [
            s
            for s in standings
            if s.membership in GONE and (s.position > self.since if not self.initial else include_leave)
        ]
        sections = {
            "join": self._joined(joined),
            "leave": self._left(left),
            "invite": self._stripped(standings, Membership.INVITE, "invite_state"),
            "knock": self._stripped(standings, Membership.KNOCK, "knock_state"),
        }
        return pieces.sections(sections) if any(sections.values()) else None

    def _stripped(self, standings: Iterable[RoomMembership], kind: Membership, name: str) -> bytes | None:
        new = [s for s in standings if s.membership is kind and s.position > self.since]
        if not new:
            return None
        stripped = memberships.stripped_states(self.conn, self.who.user, [s.room for s in new])
        own = self.on.gatherer.events.by_nids(self.conn, [s.event for s in new])
        room_ids = self.on.names.room_ids(self.conn, [s.room for s in new])
        members = []
        for standing in new:
            event = own[standing.event]
            if event.sender in self.ignored:
                continue
            ready = stripped.get(standing.room, pieces.EMPTY_LIST)
            joint = b"," if len(ready) > 2 else b""
            items = ready[:-1] + joint + event.stripped() + b"]"
            members.append((room_ids[standing.room], pieces.mapped([(name, b'{"events":' + items + b"}")])))
        return pieces.mapped(members) if members else None

    def _joined(self, standings: list[RoomMembership]) -> bytes | None:
        heads = rooms.load_many(self.conn, [standing.room for standing in standings])
        new = {s.room for s in standings if s.began_at > self.since}
        again: set[RoomNid] = set()
        if new and not self.initial:
            again = returned(self.conn, self.on.gatherer.events, [s for s in standings if s.room in new])
        side = self._beside(heads, new)
        parts = []
        for standing in standings:
            head = heads[standing.room]
            full = standing.room in new or self.request.full_state
            changed = head.newest > self.since
            if not full and not changed and standing.room not in side:
                continue
            after = 0 if standing.room in new else self.since
            parts.append(RoomPart(head, standing, self.position, after, full, again=standing.room in again))
        if not parts:
            return None
        self._fill(parts)
        counts = self._counts(parts)
        members = [
            (part.room.room_id, self._joined_room(part, counts[part.room.nid], side.get(part.room.nid, {})))
            for part in parts
        ]
        return pieces.mapped(members)

    def _left(self, standings: list[RoomMembership]) -> bytes | None:
        if not standings:
            return None
        heads = rooms.load_many(self.conn, [standing.room for standing in standings])
        found = departures(self.conn, self.on.gatherer.events, standings, self.since)
        parts = []
        for standing in standings:
            left = found[standing.room]
            was_in = left.ended is not None
            new = was_in and left.began_since
            part = RoomPart(
                heads[standing.room], standing, left.until, 0 if new else self.since,
                full=new or (was_in and self.request.full_state), only_own=not was_in,
                again=new and not self.initial,
                epilogue=left.epilogue,
            )  # fmt: skip
            parts.append(part)
        self._fill(parts)
        # What the client shows as its user's room has to go, even if the filter lets no event of it pass.
        members = [
            (part.room.room_id, self._left_room(part))
            for part in parts
            if part.timeline or (not self.initial and (not part.only_own or found[part.room.nid].was_pending))
        ]
        return pieces.mapped(members) if members else None

    def _fill(self, parts: list[RoomPart]) -> None:
        gatherer = self.on.gatherer
        gatherer.fill_timelines(self.conn, parts, (self.who.user, self.who.user_id), self.filter, self.ignored)
        gatherer.fill_states(self.conn, parts, at_end=self.request.state_after is not None)
        self._summaries = self._summarise(parts)
        if self.filter.room.state.lazy_load_members:
            self._drop_lazy_members(parts)
        wanted = {nid for part in parts for nid in part.state.values()}
        self._state_events = gatherer.events.by_nids(self.conn, wanted)
        timeline = [seen for part in parts for seen in part.timeline]
        rendered = self.on.rendering.render(self.conn, self.who, timeline, room_id=False, ignored=self.ignored)
        shaped = self._shaped([seen.event for seen in timeline], rendered)
        self._rendered = {seen.event.nid: item for seen, item in zip(timeline, shaped, strict=True)}

    def _shaped(self, events: list[Event], items: list[bytes]) -> list[bytes]:
        """Return events in the format and with the fields that the filter asks for."""
        if self.filter.event_format == "federation":
            return [event.federation_json for event in events]
        if self.filter.event_fields is None:
            return items
        return [orjson.dumps(self.filter.pick(orjson.loads(item))) for item in items]

    def _joined_room(self, part: RoomPart, unread: Unread, side: Mapping[str, bytes]) -> bytes:
        by_thread = self.filter.room.timeline.unread_thread_notifications
        counted = unread.threads.get(MAIN, Counts()) if by_thread else unread.total()
        sections: dict[str, bytes | None] = {
            "timeline": self._timeline(part),
            self._state_name: self._state(part),
            "ephemeral": side.get("ephemeral", pieces.events(())),
            "account_data": side.get("account_data", pieces.events(())),
            "unread_notifications": counted.as_json(),
        }
        if by_thread:
            threads = [(thread, one.as_json()) for thread, one in unread.threads.items() if thread != MAIN]
            sections["unread_thread_notifications"] = pieces.mapped(threads) if threads else None
        sections["summary"] = self._summaries.get(part.room.nid)
        return pieces.sections(sections)

    def _left_room(self, part: RoomPart) -> bytes:
        return pieces.sections({"timeline": self._timeline(part), self._state_name: self._state(part)})

    @property
    def _state_name(self) -> str:
        return self.request.state_after or "state"

    def _timeline(self, part: RoomPart) -> bytes:
        items = [self._rendered[seen.event.nid] for seen in part.timeline]
        return pieces.mapped(
            (
                ("events", pieces.listed(items)),
                ("limited", b"true" if part.limited else b"false"),
                ("prev_batch", orjson.dumps(str(PageToken(part.start)))),
            )
        )

    def _state(self, part: RoomPart) -> bytes:
        wanted = self.filter.room.state
        found = (self._state_events[nid] for nid in sorted(part.state.values()) if nid in self._state_events)
        shown = [event for event in found if wanted.matches(event)]
        items = self.on.rendering.state(self.conn, self.who, shown, room_id=False, ignored=self.ignored)
        return pieces.events(self._shaped(shown, items))

    # Members

    def _drop_lazy_members(self, parts: Collection[RoomPart]) -> None:
        """Leave out of the state the members whom nobody has to be shown.

        Source: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
        """
        redundant = self.filter.room.state.include_redundant_members
        pairs = self.on.names.slot_pairs(self.conn, {slot for part in parts for slot in part.state})
        senders = {part.room.nid: {seen.event.sender for seen in part.timeline} for part in parts}
        missing: list[tuple[RoomPart, set[str]]] = []
        for part in parts:
            needed = {*senders[part.room.nid], *self._heroes.get(part.room.nid, ())}
            if part.full:
                needed.add(self.who.user_id)
            kept: dict[SlotNid, EventNid] = {}
            for slot, nid in part.state.items():
                kind, key = pairs[slot]
                # In a gap all that changed is told; of a whole state, what is needed.
                if kind != MEMBER or not part.full or key in needed:
                    kept[slot] = nid
            # Who gets the whole state begins anew, and may have forgotten whom they were told of before.
            self.on.lazy.forget(self.who.device, [nid for slot, nid in part.state.items() if slot not in kept])
            part.state = kept
            if not part.full:
                missing.append((part, needed))
        self._add_senders(missing, redundant=redundant)
        for part in parts:
            shown = [nid for slot, nid in part.state.items() if slot in pairs and pairs[slot][0] == MEMBER]
            self.on.lazy.told(self.who.device, shown, self.position)

    def _add_senders(self, missing: Iterable[tuple[RoomPart, set[str]]], *, redundant: bool) -> None:
        """Add the membership of senders whom this device has not been told of."""
        for part, needed in missing:
            if part.room.snapshot is None or part.only_own or not needed:
                continue
            state = self.on.gatherer.snapshots.state(self.conn, part.room.snapshot)
            in_window = {event.slot for event in part.raw if event.slot is not None}
            slots = self.on.names.slots(self.conn, [(MEMBER, user_id) for user_id in needed])
            for slot in slots.values():
                nid = state.get(slot)
                if nid is None or slot in part.state or slot in in_window:
                    continue
                if redundant or not self.on.lazy.knows(self.who.device, nid, self.since):
                    part.state[slot] = nid
                    self.on.lazy.told(self.who.device, [nid], self.position)

    def _summarise(self, parts: Collection[RoomPart]) -> dict[RoomNid, bytes]:
        """Return the summaries of the rooms whose members may have changed; find the heroes of those without a name."""
        self._heroes: dict[RoomNid, list[str]] = {}
        changed = [
            part
            for part in parts
            if part.standing.membership is Membership.JOIN
            and (part.full or part.limited or part.forked or any(event.type == MEMBER for event in part.raw))
        ]
        nameless = self._nameless(changed)
        found = heroes.heroes(self.conn, nameless, self.who.user) if nameless else {}
        user_ids = self.on.names.user_ids(self.conn, {user for members in found.values() for user, _ in members})
        answers = {}
        for part in changed:
            room = part.room
            summary: dict[str, object] = {
                "m.joined_member_count": room.joined, "m.invited_member_count": room.invited,
            }  # fmt: skip
            if room.nid in nameless:
                self._heroes[room.nid] = [user_ids[user] for user, _ in found.get(room.nid, [])]
                summary["m.heroes"] = self._heroes[room.nid]
            answers[room.nid] = orjson.dumps(summary)
        return answers

    def _nameless(self, parts: Iterable[RoomPart]) -> set[RoomNid]:
        wanted = [("m.room.name", "", "name"), ("m.room.canonical_alias", "", "alias")]
        slots = self.on.names.slots(self.conn, [(kind, key) for kind, key, _ in wanted])
        states = {
            part.room.nid: self.on.gatherer.snapshots.state(self.conn, part.room.snapshot)
            for part in parts
            if part.room.snapshot is not None
        }
        nids = {nid for state in states.values() for slot in slots.values() if (nid := state.get(slot)) is not None}
        loaded = self.on.gatherer.events.by_nids(self.conn, nids)
        named = {
            event.room
            for event in loaded.values()
            for kind, _, member in wanted
            if event.type == kind and event.content.get(member)
        }
        return set(states) - named

    # Beside the timeline

    def _beside(self, heads: Mapping[RoomNid, Room], new: set[RoomNid]) -> dict[RoomNid, dict[str, bytes]]:
        """Return the ephemeral events and the account data of each room that has some."""
        wanted = self.filter.room.ephemeral
        hearing = {room for room, head in heads.items() if wanted.wants_room(head.room_id)}
        ephemeral: dict[RoomNid, list[bytes]] = {}
        found = self._receipts(heads, new)
        if wanted.wants("m.receipt"):
            user_ids = self.on.names.user_ids(self.conn, {row.user for rows in found.values() for row in rows})
            for room in found.keys() & hearing:
                shown = [row for row in found[room] if user_ids[row.user] not in self.ignored]
                contents = event_contents(shown, user_ids)
                if contents:
                    ephemeral[room] = [pieces.typed("m.receipt", orjson.dumps(content)) for content in contents]
        if wanted.wants("m.typing"):
            for room in hearing:
                typists = (self.passing.typing if room in new else self.passing.typing_changed).get(room)
                if typists is not None:
                    ephemeral.setdefault(room, []).append(typing_event(typists, self.ignored))
        # What the user has read themselves changes their counts, so it is news even if they want no receipts.
        side: dict[RoomNid, dict[str, bytes]] = {
            room: {} for room, rows in found.items() if any(row.user == self.who.user for row in rows)
        }
        for room, items in ephemeral.items():
            side.setdefault(room, {})["ephemeral"] = pieces.events(items)
        for room, items in self._room_account_data(heads, new).items():
            side.setdefault(room, {})["account_data"] = pieces.events(items)
        return side

    def _receipts(self, heads: Iterable[RoomNid], new: set[RoomNid]) -> dict[RoomNid, list[Receipt]]:
        known = [room for room in heads if room not in new]
        found = receipts.since(self.conn, known, self.who.user, self.since, self.position)
        if new:
            found |= receipts.since(self.conn, new, self.who.user, 0, self.position)
        return found

    def _room_account_data(self, heads: Mapping[RoomNid, Room], new: set[RoomNid]) -> dict[RoomNid, list[bytes]]:
        found: dict[RoomNid, list[bytes]] = {}
        wanted = self.filter.room.account_data
        changed = account_data.rooms_since(self.conn, self.who.user, self.since, self.position)
        if new and not self.initial:
            everything = account_data.rooms_since(self.conn, self.who.user, 0, self.position)
            changed |= {room: data for room, data in everything.items() if room in new}
        for room, data in changed.items():
            items = [pieces.typed(kind, content) for kind, content in data if wanted.wants(kind)]
            if items and room in heads and wanted.wants_room(heads[room].room_id):
                found[room] = items
        return found

    def _counts(self, parts: Iterable[RoomPart]) -> dict[RoomNid, Unread]:
        reader = Reader(
            self.who.user,
            self.on.push_rules.rules_for(self.conn, [self.who.user])[self.who.user],
            self.who.user_id,
            {part.room.nid: part.standing.display_name for part in parts},
            self.ignored,
        )
        return self.on.unread.count(self.conn, reader, {part.room.nid: part.room for part in parts}, self.position)
