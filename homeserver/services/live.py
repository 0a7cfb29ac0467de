"""Who waits for news, and who is told: the hub between commits and the readers that sync.

A *feed* stands for a user whose clients sync: it knows the rooms they are in and the newest position at which
something of theirs changed. So a sync with nothing new is answered from memory, and a commit wakes exactly those who
care.

Everything here runs on the event loop. What is durable is told after its commit; typing and presence have a counter of
their own, which starts anew with the process.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from homeserver.clock import Clock
from homeserver.model.nids import RoomNid, UserNid

IDLE_SECONDS = 600.0
"""A feed that nobody has read for so long is dropped."""

WAKES_AT_ONCE = 20
"""Feeds that are woken in one round of the event loop; others' requests are served between the rounds."""

GATHER_SECONDS = 0.5
"""How long changes of presence are gathered before those who wait are woken.

When hundreds come into a room at once, each of them is so woken a few times, not hundreds of times.
"""

LoadRooms = Callable[[UserNid], Awaitable[tuple[int, set[RoomNid]]]]
"""Reads the rooms that a user has joined, and the position at which that was so."""


@dataclass(slots=True, eq=False)
class Feed:
    """What the hub knows of one user."""

    user: UserNid
    rooms: set[RoomNid] = field(default_factory=set)
    personal: int = 0
    """Newest position of what is the user's own: account data, to-device messages, memberships, invites."""
    rooms_changed: dict[RoomNid, int] = field(default_factory=dict)
    """A position at or after the newest of each joined room that changed since the feed began; the last one is last."""
    newest: int = 0
    newest_ephemeral: int = 0
    began: int = 0
    """The feed knows every change after this position."""
    readers: int = 0
    used_at: float = 0.0
    """When the last one stopped to read it."""
    waiters: set[asyncio.Future[None]] = field(default_factory=set)
    _early: list[tuple[int, RoomNid, bool]] | None = field(default_factory=list)
    """Memberships that changed while the rooms were being loaded."""

    def changed_since(self, position: int) -> list[RoomNid]:
        """Return the joined rooms that may have changed after a position at or after `began`."""
        found = []
        for room, newest in reversed(self.rooms_changed.items()):
            if newest <= position:
                break
            found.append(room)
        return found

    def wake(self) -> None:
        """Let everyone who waits look again."""
        for waiter in self.waiters:
            _wake(waiter)
        self.waiters.clear()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Live:
    """The hub. One a process."""

    def __init__(self, clock: Clock, position: int) -> None:
        """Take the clock and the newest committed position."""
        self._clock = clock
        self.position = position
        self.ephemeral = 0
        self.closing = False
        self._feeds: dict[UserNid, Feed] = {}
        self._loading: dict[UserNid, asyncio.Task[None]] = {}
        self._by_room: dict[RoomNid, set[Feed]] = {}
        self._to_wake: deque[Feed] = deque()
        self._waking = False
        self._to_wake_soon: set[Feed] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for news."""
        return sum(len(feed.waiters) for feed in self._feeds.values())

    async def enter(self, user: UserNid, load: LoadRooms) -> Feed:
        """Return the feed of a user, loading their rooms if it is new; it is kept until the reader has left again."""
        feed = self._feeds.get(user)
        if feed is None:
            feed = self._feeds[user] = Feed(user)
            self._loading[user] = asyncio.create_task(self._load(feed, load))
        feed.readers += 1
        loading = self._loading.get(user)
        if loading is not None:
            try:
                await asyncio.shield(loading)
            except BaseException:
                self.leave(feed)
                raise
        return feed

    def leave(self, feed: Feed) -> None:
        """Take note that a reader who has entered reads the feed no longer."""
        feed.readers -= 1
        feed.used_at = self._clock.monotonic()

    async def _load(self, feed: Feed, load: LoadRooms) -> None:
        try:
            position, rooms = await load(feed.user)
        except BaseException:
            self._drop(feed)
            raise
        finally:
            self._loading.pop(feed.user, None)
        early, feed._early = feed._early or [], None
        # Nobody rang as long as the rooms were not known, so what changed meanwhile must be looked for in the database.
        feed.began = max(position, self.position)
        feed.newest = max(feed.began, feed.newest)
        feed.newest_ephemeral = self.ephemeral
        for room in rooms:
            self._enter(feed, room)
        for changed, room, joined in early:
            if changed > position:
                self._move(feed, room, joined)

    async def wait(self, feed: Feed, position: int, ephemeral: int, seconds: float) -> None:
        """Return when the feed has something newer than these, or when the time is over."""
        if self.closing or feed.newest > position or feed.newest_ephemeral > ephemeral:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        feed.waiters.add(waiter)
        # Cheaper than `asyncio.timeout`, which cancels the task and catches that.
        timer = loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            feed.waiters.discard(waiter)

    def close(self) -> None:
        """Let nobody wait any more: the server stops."""
        self.closing = True
        for feed in self._feeds.values():
            feed.wake()

    def ring_users(self, position: int, users: Iterable[UserNid]) -> None:
        """Something of their own has changed for these users."""
        self.position = max(self.position, position)
        for user in users:
            feed = self._feeds.get(user)
            if feed is not None:
                feed.personal = feed.newest = max(feed.newest, position)
                self._wake(feed)

    def ring_room(self, position: int, room: RoomNid) -> None:
        """Something has changed in a room, for everyone who is joined."""
        self.position = max(self.position, position)
        for feed in self._by_room.get(room, ()):
            feed.newest = max(feed.newest, position)
            # Whatever comes last stands last, with the highest number.
            feed.rooms_changed.pop(room, None)
            feed.rooms_changed[room] = feed.newest
            self._wake(feed)

    def member_moved(self, position: int, user: UserNid, room: RoomNid, joined: bool) -> None:
        """A user's membership has changed; ring the room before it when someone leaves, after it when someone joins."""
        self.position = max(self.position, position)
        feed = self._feeds.get(user)
        if feed is None:
            return
        if feed._early is not None:
            feed._early.append((position, room, joined))
        else:
            self._move(feed, room, joined)
        feed.personal = feed.newest = max(feed.newest, position)
        self._wake(feed)

    def next_ephemeral(self) -> int:
        """Return the next serial of what is kept in memory only."""
        self.ephemeral += 1
        return self.ephemeral

    def ring_room_ephemeral(self, room: RoomNid) -> None:
        """Typing has changed in a room; call after taking `next_ephemeral`."""
        for feed in self._by_room.get(room, ()):
            feed.newest_ephemeral = self.ephemeral
            self._wake(feed)

    def ring_users_ephemeral(self, users: Iterable[UserNid]) -> None:
        """Presence has changed for these users to see; call after taking `next_ephemeral`.

        A sync that begins now tells of it; who waits already is woken a little later.
        """
        for user in users:
            feed = self._feeds.get(user)
            if feed is not None:
                feed.newest_ephemeral = self.ephemeral
                if feed.waiters:
                    if not self._to_wake_soon:
                        asyncio.get_running_loop().call_later(GATHER_SECONDS, self._wake_gathered)
                    self._to_wake_soon.add(feed)

    def online_in(self, room: RoomNid) -> Iterable[UserNid]:
        """Return the users in a room that have a feed: those who can be told at all."""
        return [feed.user for feed in self._by_room.get(room, ())]

    def rooms_of(self, user: UserNid) -> set[RoomNid] | None:
        """Return the rooms that a user has joined, kept up to date; None if they have no feed that is ready."""
        feed = self._feeds.get(user)
        return feed.rooms if feed is not None and user not in self._loading else None

    def prune(self) -> None:
        """Drop the feeds that nobody reads."""
        limit = self._clock.monotonic() - IDLE_SECONDS
        for feed in [feed for feed in self._feeds.values() if not feed.readers and feed.used_at < limit]:
            if feed.user not in self._loading:
                self._drop(feed)

    def _wake(self, feed: Feed) -> None:
        """Let those who wait look again, soon: to answer hundreds in one go would keep everybody else waiting."""
        if feed.waiters:
            self._to_wake.append(feed)
            if not self._waking:
                self._waking = True
                asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_gathered(self) -> None:
        feeds, self._to_wake_soon = self._to_wake_soon, set()
        for feed in feeds:
            self._wake(feed)

    def _wake_some(self) -> None:
        for _ in range(min(WAKES_AT_ONCE, len(self._to_wake))):
            self._to_wake.popleft().wake()
        self._waking = bool(self._to_wake)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _drop(self, feed: Feed) -> None:
        self._feeds.pop(feed.user, None)
        for room in feed.rooms:
            self._by_room.get(room, set()).discard(feed)
            if not self._by_room.get(room):
                self._by_room.pop(room, None)

    def _move(self, feed: Feed, room: RoomNid, joined: bool) -> None:
        if joined:
            self._enter(feed, room)
            return
        feed.rooms.discard(room)
        feed.rooms_changed.pop(room, None)
        others = self._by_room.get(room)
        if others is not None:
            others.discard(feed)
            if not others:
                del self._by_room[room]

    def _enter(self, feed: Feed, room: RoomNid) -> None:
        feed.rooms.add(room)
        self._by_room.setdefault(room, set()).add(feed)
