"""The users who have sessions on this process, and their live feeds: what /sync is to Matrix clients.

While a user has a session, one task follows their feed in `services/live.py`. With each change it calls the functions
in `NEWS` of `homeserver.xmpp`, one after the other:

    async def news(account: Account, news: News) -> None

which find out what is new between the two positions (as a sync between two tokens does) and `send` it to those of
`account.sessions` that want it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import structlog

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError, StreamCondition, StreamError
from federation.core.xmpp.jid import Jid
from homeserver.errors import MatrixError
from homeserver.model.accounts import Requester
from homeserver.model.devices import NewDevice
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import Services
from homeserver.services.live import Feed
from homeserver.storage import devices, memberships
from homeserver.storage.database import Write, current_position
from homeserver.xmpp.addresses import Addresses
from homeserver.xmpp.router import Router
from homeserver.xmpp.session import Session

log = structlog.get_logger()

T = TypeVar("T")

MOST_SESSIONS = 30
"""Of one user; the oldest ends when there are more."""
RESOURCE_LETTERS = 12
LONGEST_WAIT_SECONDS = 3600.0
DEVICE_PREFIX = "XMPP-"
LEFT_OVER_MS = 7 * 24 * 3600 * 1000
MOST_CLEANED = 500
AGENT = "XMPP"
"""What stands for the client's software in the list of devices."""


@dataclass(frozen=True, slots=True)
class News:
    """What a user's feed says has changed."""

    since: int
    """The position up to which everything was told."""
    until: int
    """The position up to which it is to be told now."""
    rooms: Sequence[RoomNid]
    """The joined rooms in which something may have changed between them."""
    personal: bool
    """Whether something of the user's own has changed: account data, memberships, invites, to-device messages."""
    ephemeral_since: int
    """The serial up to which typing and presence were told."""
    ephemeral_until: int


Hook: TypeAlias = Callable[[Session], Awaitable[None]]
OnNews: TypeAlias = "Callable[[Account, News], Awaitable[None]]"


@dataclass(slots=True, eq=False)
class Account:
    """A user, with all their sessions on this process."""

    accounts: "Accounts"
    user_id: UserID
    user: UserNid
    jid: Jid
    """Bare."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """By resource, the oldest first."""
    following: asyncio.Task[None] | None = None

    def available(self) -> list[Session]:
        """Return the sessions that have said they are available."""
        return [session for session in self.sessions.values() if session.available]

    def others(self, session: Session) -> list[Session]:
        """Return all sessions but one."""
        return [other for other in self.sessions.values() if other is not session]


@dataclass(slots=True, eq=False)
class Accounts:
    """Knows all sessions of this process."""

    services: Services
    addresses: Addresses
    router: Router
    begun: Sequence[Hook]
    ended: Sequence[Hook]
    news: Sequence[OnNews]
    availability: Sequence[Hook] = ()
    presence: Sequence[Hook] = ()
    started_at: float = field(init=False)
    _by_user: dict[UserNid, Account] = field(default_factory=dict)
    _by_jid: dict[Jid, Account] = field(default_factory=dict)
    _ending: dict[Jid, asyncio.Task[None]] = field(default_factory=dict)
    _beginning: WeakValueDictionary[Jid, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _kept: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hear of devices that are logged out."""
        self.started_at = self.services.clock.monotonic()
        self.services.sessions.on_forget.append(self._look_again)

    def kept(self, kind: Callable[["Accounts"], T]) -> T:
        """Return the one instance of a class that an extension keeps for the whole server, made at first use."""
        found = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind(self)
        return found

    # Finding

    def of_user(self, user: UserNid) -> Account | None:
        """Return a user, if they have sessions on this process."""
        return self._by_user.get(user)

    def at(self, jid: Jid) -> Account | None:
        """Return the user at a bare or full JID, if they have sessions on this process."""
        return self._by_jid.get(jid.bare)

    def session(self, jid: Jid) -> Session | None:
        """Return the session at a full JID."""
        account = self._by_jid.get(jid.bare)
        return account.sessions.get(jid.resource or "") if account is not None else None

    def all(self) -> list[Session]:
        """Return all sessions."""
        return [session for account in self._by_user.values() for session in account.sessions.values()]

    # Beginning and ending

    async def begin(self, user_id: UserID, resource: str | None, address: str) -> Session:
        """Log a device in for a user who has proven who they are, and return its session.

        A session with the same resource ends: nearly always it is the same client, whose connection broke.
        https://www.rfc-editor.org/rfc/rfc6120#section-7.7.2.2. Raises `StanzaError` or `MatrixError`.
        """
        own = self.addresses.of_user(user_id)
        try:
            jid = own.with_resource(resource or self.services.ids.letters(RESOURCE_LETTERS))
        except InvalidIdentifier as error:
            raise StanzaError(StanzaCondition.BAD_REQUEST, str(error)) from error
        # One after the other: of two sessions with one address, only the later one would be known.
        turn = self._beginning.setdefault(own, asyncio.Lock())
        async with turn:
            session = await self._begin(user_id, own, jid, address)
        try:
            for tell in self.begun:
                await tell(session)
        except Exception:
            session.end()
            raise
        return session

    async def _begin(self, user_id: UserID, own: Jid, jid: Jid, address: str) -> Session:
        name = jid.resource or ""
        before = self._by_jid.get(own)
        if before is not None:
            for rival in [before.sessions.get(name), *list(before.sessions.values())[: 1 - MOST_SESSIONS]]:
                if rival is not None:
                    rival.end(StreamError(StreamCondition.CONFLICT, "another session has taken the resource"))
        # The device of a session that has just ended must be gone before it is logged in again.
        while jid in self._ending:
            await asyncio.wait([self._ending[jid]])
        login = await self.services.login.proven(user_id, NewDevice(device_id_of(jid), f"{jid.resource} (XMPP)"[:200]))
        who = await self.services.sessions.authenticate(login.pair.access, address=address, agent=AGENT)
        account = self._account(who, own)
        session = Session(account, who, login.pair.access, jid, address)
        account.sessions[name] = session
        if account.following is None:
            account.following = asyncio.create_task(self._follow(account), name="xmpp-feed")
        return session

    def session_ended(self, session: Session) -> None:
        """Forget a session that has ended, and log its device out."""
        account = session.account
        name = session.jid.resource or ""
        if account.sessions.get(name) is session:
            del account.sessions[name]
        self._ending[session.jid] = self.soon(self._clean(session))
        if not account.sessions:
            self._by_user.pop(account.user, None)
            self._by_jid.pop(account.jid, None)
            if account.following is not None:
                account.following.cancel()

    def connection_lost(self, session: Session) -> None:
        """Keep a session whose connection broke if it can be resumed, and end it if not."""
        if session.lingers is None:
            session.end()
        else:
            session.lingers(session)

    async def close(self, why: StreamError) -> None:
        """End all sessions: the server stops."""
        for session in self.all():
            session.end(why)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _account(self, who: Requester, jid: Jid) -> Account:
        account = self._by_user.get(who.user)
        if account is None:
            account = self._by_user[who.user] = self._by_jid[jid] = Account(self, who.user_id, who.user, jid)
        return account

    async def _clean(self, session: Session) -> None:
        try:
            await self._log_out(session)
        finally:
            del self._ending[session.jid]

    async def _log_out(self, session: Session) -> None:
        for tell in self.ended:
            try:
                await tell(session)
            except Exception:
                log.exception("xmpp_session_end_failed")
        who = session.who
        try:
            await self.services.sessions.authenticate(session.token, address=session.address, agent=AGENT)
        except MatrixError:
            return
        await self.services.devices.remove(who, [who.device_id])

    def _look_again(self, user: UserNid) -> None:
        """A user's devices or what they may do have changed."""
        account = self._by_user.get(user)
        for session in list(account.sessions.values()) if account is not None else ():
            self.soon(self._renew(session)).set_name("xmpp-renewal")

    async def look_after(self) -> None:
        """Show that the devices of all sessions are there, end those that were logged out on another process.

        Devices whose sessions ended with a process that was killed are logged out, once they are old.
        """
        for session in self.all():
            await self._renew(session)
        before = self.services.clock.now_ms() - LEFT_OVER_MS

        def clean(tx: Write) -> None:
            for user, device_id in devices.unseen(tx.conn, DEVICE_PREFIX, before, MOST_CLEANED):
                self.services.devices.end(tx, user, [device_id])

        await self.services.sessions.write_seen()
        await self.services.db.write(clean)

    async def _renew(self, session: Session) -> None:
        try:
            session.who = await self.services.sessions.authenticate(session.token, address=session.address, agent=AGENT)
        except MatrixError:
            session.end(StreamError(StreamCondition.NOT_AUTHORIZED, "this device was logged out"))

    def soon(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do something beside what runs now; it is waited for when the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Between sessions

    def pass_on(self, to: Jid, iq: Element) -> None:
        """Give an iq to a session, which answers it. Raises `StanzaError` if there is none.

        https://www.rfc-editor.org/rfc/rfc6121#section-8.5.3.1
        """
        found = self.session(to)
        if found is None:
            raise StanzaError(StanzaCondition.SERVICE_UNAVAILABLE)
        found.is_asked(iq)
        found.send(iq)

    def answer_to(self, to: Jid, answer: Element) -> None:
        """Give an answer to the session that has asked."""
        found = self.session(to)
        if found is not None and stanzas.is_stanza(answer):
            found.send(answer)

    # Following

    async def _follow(self, account: Account) -> None:
        """Tell what happens to a user until they have no session."""
        try:
            await self._follow_feed(account)
        except Exception:
            # Who hears nothing any more had better know: after a new login, the archive has what is missing.
            log.exception("xmpp_feed_failed")
            for session in list(account.sessions.values()):
                session.end(StreamError(StreamCondition.INTERNAL_SERVER_ERROR))

    async def _follow_feed(self, account: Account) -> None:
        live = self.services.live
        feed = await live.enter(account.user, self._joined_rooms)
        position, ephemeral = feed.began, live.ephemeral
        try:
            while account.sessions and not live.closing:
                await live.wait(feed, position, ephemeral, LONGEST_WAIT_SECONDS)
                until, ephemeral_until = live.position, live.ephemeral
                news = _news(feed, position, until, ephemeral, ephemeral_until)
                position, ephemeral = max(position, until), ephemeral_until
                await self._tell(account, news)
        finally:
            live.leave(feed)

    async def _tell(self, account: Account, news: News) -> None:
        for tell in self.news:
            try:
                await tell(account, news)
            except Exception:
                log.exception("xmpp_news_failed")

    async def _joined_rooms(self, user: UserNid) -> tuple[int, set[RoomNid]]:
        return await self.services.db.read(
            lambda conn: (current_position(conn), set(memberships.joined_rooms(conn, user)))
        )


def device_id_of(jid: Jid) -> DeviceID:
    """Return the device that a resource is: the same each time, so that a client that comes back is the same one."""
    return DeviceID(DEVICE_PREFIX + sha256(str(jid).encode()).hexdigest()[:12].upper())


def _news(feed: Feed, since: int, until: int, ephemeral_since: int, ephemeral_until: int) -> News:
    rooms = feed.changed_since(since)
    rooms.reverse()
    return News(since, until, rooms, feed.personal > since, ephemeral_since, ephemeral_until)
