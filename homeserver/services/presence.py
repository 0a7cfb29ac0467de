"""Who is there: https://spec.matrix.org/v1.19/client-server-api/#presence.

What devices say of themselves makes the state of a user; a loop lets those who have gone quiet become unavailable, and
those who have gone become offline. All of it is in memory, on the event loop; the table keeps the status message, and
when a user was last active, over a restart. Who sees a change is found from the rooms in memory, without a query for
each reader.

Other servers are told of our users with whom theirs share a room, a moment later, so that what changes to and fro is
told once; what they tell of theirs holds for a while: https://spec.matrix.org/v1.19/server-server-api/#presence.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection

from federation.core.ids import ServerName, UserID, server_of
from federation.matrix.edus import PRESENCE
from homeserver.clock import Clock
from homeserver.errors import Forbidden, InvalidParam
from homeserver.model.accounts import Requester
from homeserver.model.nids import DeviceNid, RoomNid, UserNid
from homeserver.model.presence import PresenceState
from homeserver.model.profiles import PublicNames
from homeserver.services.live import Live
from homeserver.services.neighbours import Neighbours
from homeserver.services.outgoing import Outgoing
from homeserver.storage import memberships, presence, profiles
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names
from homeserver.storage.presence import StoredPresence

log = structlog.get_logger()

IDLE_SECONDS = 300.0
"""Who has done nothing for so long is unavailable."""
GONE_SECONDS = 30.0
"""A device that has not synced for so long is offline."""
SET_SECONDS = 300.0
"""How long the state holds that a device set which does not sync."""
SETTLE_SECONDS = 2.0
"""How long a sync does not undo what the device has just set: the two overtake each other on the way."""
LOOK_SECONDS = 5.0
"""How often the loop looks for who has gone."""
MOST_PEOPLE = 50_000
"""Users in memory; of more, those offline longest are forgotten."""
TELL_AFTER_SECONDS = 0.5
"""How long changes are gathered before other servers are told."""
TELL_AGAIN_SECONDS = 1500.0
"""Other servers are told so often that someone is still there."""
HEARD_SECONDS = 2100.0
"""A user of another server of whom nothing was heard for so long is offline."""
LONGEST_STATUS = 1000
ENTRIES_REMEMBERED = 1000
"""Rooms of which it is remembered that a user came in, until they have synced."""
BEFORE_THE_START = DeviceNid(0)
"""Stands for the devices that were there when the server stopped."""


@dataclass(slots=True)
class Device:
    """What a device says of its user, and until when that counts while no sync of it waits."""

    state: PresenceState
    until: float
    syncs: int = 0
    settled_at: float = 0.0
    """Until then, what its syncs say does not count."""


@dataclass(slots=True, eq=False)
class _Person:
    """A user whose presence is known."""

    user: UserNid
    user_id: UserID
    rooms: Set[RoomNid]
    names: PublicNames
    status_msg: str | None
    last_active_at: int
    state: PresenceState = PresenceState.OFFLINE
    devices: dict[DeviceNid, Device] = field(default_factory=dict)
    serial: int = 0
    """Of the last change that others can see."""
    is_local: bool = True
    told_at: float = 0.0
    """When other servers were last told of a local user, or last told of one of theirs."""


class Presence:
    """Knows who is there, and tells those who share a room with them."""

    def __init__(
        self, own: ServerName, db: Database, clock: Clock, names: Names, live: Live, enabled: bool,
        neighbours: Neighbours, outgoing: Outgoing,
    ) -> None:  # fmt: skip
        """Start with everybody offline. If presence is not `enabled`, they stay so."""
        self._own = own
        self._neighbours = neighbours
        self._outgoing = outgoing
        self._db = db
        self._clock = clock
        self._names = names
        self._live = live
        self._enabled = enabled
        self._people: OrderedDict[UserNid, _Person] = OrderedDict()
        """By the time of their last visible change, newest last."""
        self._unsaved: set[UserNid] = set()
        self._entered: OrderedDict[UserNid, deque[tuple[int, RoomNid]]] = OrderedDict()
        """The rooms that each user came into, with the serials, newest last."""
        self._untold: set[UserNid] = set()
        self._newcomers: dict[ServerName, set[RoomNid]] = {}
        """The servers whose users came into rooms, and are to be told who is there."""
        self._telling: asyncio.Task[None] | None = None

    async def set(self, who: Requester, user_id: UserID, state: PresenceState, status_msg: str | None) -> None:
        """Set the user's own presence, as their device sees it. Raises `Forbidden` or `InvalidParam`.

        Where presence is turned off that is refused: to accept it would promise what does not happen.
        """
        if user_id != who.user_id:
            raise Forbidden("You cannot set the presence of another user")
        if status_msg is not None and len(status_msg) > LONGEST_STATUS:
            raise InvalidParam(f"status_msg: has more than {LONGEST_STATUS} characters")
        if not self._enabled:
            raise Forbidden("Presence is turned off on this server")
        person = await self._person(who.user, who.user_id)
        device = self._device(person, who.device)
        now = self._clock.monotonic()
        device.state, device.until, device.settled_at = state, now + SET_SECONDS, now + SETTLE_SECONDS
        person.last_active_at = self._clock.now_ms()
        said = person.status_msg != status_msg
        person.status_msg = status_msg
        self._judge(person, changed=said)
        await self._save({person.user})

    async def get(self, who: Requester, user_id: UserID) -> dict[str, Any]:
        """Return the presence of a user, to themselves or someone who shares a room with them. Raises `Forbidden`."""

        def read(conn: Connection) -> tuple[UserNid, StoredPresence | None]:
            user = who.user if user_id == who.user_id else self._names.user(conn, user_id)
            if user is None or (user != who.user and not memberships.share_a_room(conn, who.user, user)):
                raise Forbidden("You are not allowed to see their presence")
            return user, presence.of_user(conn, user)

        user, stored = await self._db.read(read)
        if not self._enabled:
            return {"presence": str(PresenceState.OFFLINE)}
        person = self._people.get(user)
        if person is not None:
            return self._content(person)
        if stored is None:
            return {"presence": str(PresenceState.OFFLINE)}
        return _content(PresenceState.OFFLINE, stored.status_msg, max(0, self._clock.now_ms() - stored.last_active_at))

    def seen(self, user: UserNid) -> tuple[PresenceState, str | None] | None:
        """Return state and status message of a user as others see them now, None where presence is turned off."""
        if not self._enabled:
            return None
        person = self._people.get(user)
        return (person.state, person.status_msg) if person is not None else (PresenceState.OFFLINE, None)

    def changed(self, serial: int) -> list[UserID]:
        """Return those whose presence has changed after a serial."""
        found = []
        for person in reversed(self._people.values()):
            if person.serial <= serial:
                break
            found.append(person.user_id)
        return found

    async def sync_begins(self, who: Requester, wanted: PresenceState) -> Device | None:
        """Show the user as `wanted` while their device syncs, and a little longer; `sync_ends` takes the result.

        With OFFLINE the sync shows nothing of them: https://spec.matrix.org/v1.19/client-server-api/#syncing.
        """
        if not self._enabled or wanted is PresenceState.OFFLINE:
            return None
        person = self._people.get(who.user) or await self._person(who.user, who.user_id)
        device = self._device(person, who.device)
        same = device.state is wanted and person.state is wanted
        if not same and self._clock.monotonic() >= device.settled_at:
            if wanted is PresenceState.ONLINE and device.state is not PresenceState.ONLINE:
                person.last_active_at = self._clock.now_ms()
            device.state = wanted
        device.syncs += 1
        if not same:
            self._judge(person)
        return device

    def sync_ends(self, device: Device | None) -> None:
        """Take note that a sync has ended, by what `sync_begins` returned."""
        if device is not None:
            device.syncs -= 1
            device.until = self._clock.monotonic() + GONE_SECONDS

    def active(self, who: Requester) -> None:
        """Take note that a user has done something on their own, such as sending a message.

        Where their device said that they are unavailable, they are online; where it hides them, it goes on to do so.
        """
        person = self._people.get(who.user)
        if person is not None and person.devices:
            person.last_active_at = self._clock.now_ms()
            device = person.devices.get(who.device)
            if device is not None and device.state is PresenceState.UNAVAILABLE:
                device.state = PresenceState.ONLINE
            if person.state is PresenceState.UNAVAILABLE:
                self._judge(person)

    async def hear(self, _origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take what another server says of its users: a checked `m.presence`."""
        if not self._enabled:
            return
        said = {UserID(push["user_id"]): push for push in content["push"]}
        users = await self._db.read(lambda conn: self._names.user_nids(conn, said))
        for user_id, user in users.items():
            person = await self._person(user, user_id)
            if not person.rooms:
                continue
            push = said[user_id]
            state = PresenceState(push["presence"])
            status = push.get("status_msg")
            status = status[:LONGEST_STATUS] if status is not None else None
            changed = state is not person.state or status != person.status_msg
            person.told_at = self._clock.monotonic()
            person.last_active_at = max(0, self._clock.now_ms() - push.get("last_active_ago", 0))
            person.state, person.status_msg = state, status
            if changed:
                self._tell(person)

    def moved(self, room: RoomNid, user: UserNid, user_id: UserID, joined: bool) -> None:
        """Take note that a user has come into a room, where all now see each other's presence, or gone out of it."""
        if not self._enabled:
            return
        if joined and server_of(user_id) != self._own:
            self._newcomers.setdefault(server_of(user_id), set()).add(room)
            self._tell_servers_soon()
        person = self._people.get(user)
        if person is not None and self._live.rooms_of(user) is None:
            person.rooms = person.rooms | {room} if joined else person.rooms - {room}
        if joined:
            self._entered.setdefault(user, deque(maxlen=ENTRIES_REMEMBERED)).append((self._live.next_ephemeral(), room))
            self._entered.move_to_end(user)
            if len(self._entered) > MOST_PEOPLE:
                self._entered.popitem(last=False)
            self._live.ring_users_ephemeral([user])
            if person is not None and person.state is not PresenceState.OFFLINE:
                self._tell(person)

    def since(
        self, serial: int, reader: UserNid, rooms: Set[RoomNid], of: Collection[UserID] | None = None
    ) -> list[bytes]:
        """Return the `m.presence` events of those who changed after a serial: the reader, and who is in their rooms.

        From 0 on, and of the rooms that the reader came into after the serial, those of all who are not offline.
        `of` are those who are looked at, if not all.
        """
        entered = {room for at, room in self._entered.get(reader, ()) if at > serial > 0}
        found = []
        for person in reversed(self._people.values()):
            new = person.serial > serial
            if not new and not entered:
                break
            if person.state is PresenceState.OFFLINE and (not new or serial == 0):
                continue
            if of is not None and person.user_id not in of:
                continue
            if (person.user == reader and new) or not (rooms if new else entered).isdisjoint(self._rooms_of(person)):
                event = {"type": "m.presence", "sender": person.user_id, "content": self._whole_content(person)}
                found.append(orjson.dumps(event))
        found.reverse()
        return found

    async def names_changed(self, user: UserNid, _user_id: UserID) -> None:
        """Tell others of the user's new display name or avatar."""
        person = self._people.get(user)
        if person is not None:
            loaded = await self._db.read(lambda conn: profiles.names_of(conn, [user]))
            person.names = loaded[user]
            if person.state is not PresenceState.OFFLINE:
                self._tell(person)

    def devices_removed(self, tx: Write, user: UserNid, gone: Collection[DeviceNid]) -> None:
        """Count devices no longer that a write removes."""
        tx.after_commit(self._forget_devices, user, gone)

    def _forget_devices(self, user: UserNid, gone: Collection[DeviceNid]) -> None:
        person = self._people.get(user)
        if person is not None:
            for device in gone:
                person.devices.pop(device, None)
            self._judge(person)

    async def recall(self) -> None:
        """Show those who were there when the server stopped as they were.

        They have as long to come back as whoever's sync ends; so their clients' friends are told if they do not.
        """
        if not self._enabled:
            return

        def load(conn: Connection) -> list[_Person]:
            there = presence.those_present(conn)
            names, user_ids = profiles.names_of(conn, there), self._names.user_ids(conn, there)
            return [
                _Person(user, user_ids[user], rooms, names[user], was.status_msg, was.last_active_at, was.state)
                for user, (was, rooms) in there.items()
            ]

        until = self._clock.monotonic() + GONE_SECONDS
        for person in await self._db.read(load):
            person.devices[BEFORE_THE_START] = Device(person.state, until)
            if self._people.setdefault(person.user, person) is person:
                self._tell(person)

    async def run(self) -> None:
        """Let users become unavailable and offline in time, and store what changed, until cancelled."""
        while self._enabled:
            await self._clock.sleep(LOOK_SECONDS)
            self.look()
            try:
                await self.save()
            except Exception:
                log.exception("presence_not_saved")

    def look(self) -> None:
        """Find who has gone quiet or away by now, and forget those who are away longest if there are too many."""
        now = self._clock.monotonic()
        for person in [person for person in self._people.values() if person.devices]:
            for number, device in list(person.devices.items()):
                if not device.syncs and device.until <= now:
                    del person.devices[number]
            self._judge(person)
        for person in list(self._people.values()):
            if person.state is not PresenceState.OFFLINE:
                self._look_elsewhere(person, now - person.told_at)
        excess = len(self._people) - MOST_PEOPLE
        if excess > 0:
            away = (user for user, person in self._people.items() if not person.devices)
            for user in [user for _, user in zip(range(excess), away, strict=False) if user not in self._unsaved]:
                del self._people[user]

    def _look_elsewhere(self, person: _Person, seconds: float) -> None:
        """Let other servers know that someone is still there, or let someone of theirs be offline."""
        if person.is_local:
            if seconds >= TELL_AGAIN_SECONDS:
                self._untold.add(person.user)
                self._tell_servers_soon()
        elif seconds >= HEARD_SECONDS:
            person.state = PresenceState.OFFLINE
            self._tell(person)

    async def save(self) -> None:
        """Store what changed since it was last stored."""
        await self._save(set(self._unsaved))

    async def close(self) -> None:
        """Tell nobody any more, and store what is left to store."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await self.save()

    async def _save(self, users: Set[UserNid]) -> None:
        people = [self._people[user] for user in users]
        self._unsaved -= users
        rows = [StoredPresence(one.user, one.state, one.status_msg, one.last_active_at) for one in people]

        def write(tx: Write) -> None:
            presence.store(tx, rows)

        if rows:
            try:
                await self._db.write(write)
            except BaseException:
                self._unsaved |= users
                raise

    async def _person(self, user: UserNid, user_id: UserID) -> _Person:
        person = self._people.get(user)
        if person is not None:
            return person

        def load(conn: Connection) -> _Person:
            stored = presence.of_user(conn, user)
            names = profiles.names_of(conn, [user])[user]
            rooms = frozenset(memberships.joined_rooms(conn, user))
            if stored is None:
                is_local = server_of(user_id) == self._own
                return _Person(user, user_id, rooms, names, None, self._clock.now_ms(), is_local=is_local)
            return _Person(user, user_id, rooms, names, stored.status_msg, stored.last_active_at)

        loaded = await self._db.read(load)
        # Another request of theirs may have come first. Who is new has not changed, so stands at the old end.
        known = self._people.setdefault(user, loaded)
        if known is loaded:
            self._people.move_to_end(user, last=False)
        return known

    def _device(self, person: _Person, device: DeviceNid) -> Device:
        found = person.devices.get(device)
        if found is None:
            found = person.devices[device] = Device(PresenceState.OFFLINE, 0.0)
        return found

    def _judge(self, person: _Person, *, changed: bool = False) -> None:
        """Work out a user's state from what their devices say; tell others if it is another one, or `changed`."""
        states = {device.state for device in person.devices.values()}
        if PresenceState.ONLINE in states:
            idle = self._clock.now_ms() - person.last_active_at >= IDLE_SECONDS * 1000
            state = PresenceState.UNAVAILABLE if idle else PresenceState.ONLINE
        elif PresenceState.UNAVAILABLE in states:
            state = PresenceState.UNAVAILABLE
        else:
            state = PresenceState.OFFLINE
        if changed or state is not person.state:
            person.state = state
            self._unsaved.add(person.user)
            self._tell(person)

    def _tell(self, person: _Person) -> None:
        person.serial = self._live.next_ephemeral()
        self._people.move_to_end(person.user)
        readers = {person.user}
        for room in self._rooms_of(person):
            readers.update(self._live.online_in(room))
        self._live.ring_users_ephemeral(readers)
        if person.is_local:
            self._untold.add(person.user)
            self._tell_servers_soon()

    def _tell_servers_soon(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_servers(), name="presence-elsewhere")

    async def _tell_servers(self) -> None:
        """Tell other servers what has changed, until nothing has."""
        while self._untold or self._newcomers:
            await self._clock.sleep(TELL_AFTER_SECONDS)
            untold, self._untold = self._untold, set()
            newcomers, self._newcomers = self._newcomers, {}
            people = [person for user in untold if (person := self._people.get(user)) is not None]
            rooms = {person.user: self._rooms_of(person) for person in people}
            servers = await self._db.read(lambda conn, rooms=rooms: self._servers_of(conn, rooms))  # type: ignore[misc]
            for person in people:
                person.told_at = self._clock.monotonic()
                self._push(person, servers[person.user])
            for server, entered in newcomers.items():
                for person in self._there_in(entered):
                    self._push(person, frozenset((server,)))

    def _servers_of(
        self, conn: Connection, rooms: Mapping[UserNid, Set[RoomNid]]
    ) -> dict[UserNid, frozenset[ServerName]]:
        return {user: self._neighbours.of_rooms(conn, in_rooms) for user, in_rooms in rooms.items()}

    def _there_in(self, rooms: Set[RoomNid]) -> Iterable[_Person]:
        for person in list(self._people.values()):
            is_there = person.is_local and person.state is not PresenceState.OFFLINE
            if is_there and not rooms.isdisjoint(self._rooms_of(person)):
                yield person

    def _push(self, person: _Person, servers: frozenset[ServerName]) -> None:
        if servers:
            edu = {"edu_type": PRESENCE, "content": {"push": [{"user_id": person.user_id, **self._content(person)}]}}
            self._outgoing.edu(None, servers, edu, key=f"{PRESENCE} {person.user_id}")

    def _rooms_of(self, person: _Person) -> Set[RoomNid]:
        """Return the rooms of a user: as of now while they sync, else as of when they last did."""
        rooms = self._live.rooms_of(person.user)
        if rooms is None:
            return person.rooms
        person.rooms = rooms
        return rooms

    def _content(self, person: _Person) -> dict[str, Any]:
        return _content(person.state, person.status_msg, max(0, self._clock.now_ms() - person.last_active_at))

    def _whole_content(self, person: _Person) -> dict[str, Any]:
        """Return the content of the event, which has the user's names too."""
        content = self._content(person)
        if person.names.display_name is not None:
            content["displayname"] = person.names.display_name
        if person.names.avatar_url is not None:
            content["avatar_url"] = person.names.avatar_url
        return content


def _content(state: PresenceState, status_msg: str | None, last_active_ago: int) -> dict[str, Any]:
    content: dict[str, Any] = {"presence": str(state), "last_active_ago": last_active_ago}
    if state is PresenceState.ONLINE:
        # Whoever is idle is not shown as online, so whoever is online is active.
        content["currently_active"] = True
    if status_msg is not None:
        content["status_msg"] = status_msg
    return content
