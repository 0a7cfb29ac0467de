"""All MUC rooms in which somebody is with an XMPP session.

Source: https://xmpp.org/extensions/xep-0045.html
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial

from federation.core.ids import UserID
from federation.core.xmpp.jid import Jid
from homeserver.model.nids import RoomNid
from homeserver.xmpp import past
from homeserver.xmpp.accounts import Account, Accounts, News
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.hub import Hub
from homeserver.xmpp.session import Session


@dataclass(slots=True)
class _Place:
    """The rooms that a session is in."""

    hubs: dict[str, Hub] = field(default_factory=dict)


class Occupancies:
    """All rooms in which a session is."""

    def __init__(self, accounts: Accounts) -> None:
        """Start with nobody in a room."""
        self._chats = accounts.kept(Chats)
        self._hubs: dict[str, Hub] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._typing: dict[str, set[UserID]] = {}

    def of(self, session: Session, jid: Jid) -> Hub | None:
        """Return the room at a JID if a session is in it."""
        return session.kept(_Place).hubs.get(jid.local or "")

    async def enter(
        self, session: Session, jid: Jid, room: RoomNid, history: past.Span | None, *, created: bool = False
    ) -> None:
        """Let a session into a room, by the nick that is the resource of `jid`. Raises `StanzaError`."""
        name = jid.local or ""
        lock = self._opening.setdefault(name, asyncio.Lock())
        async with lock:
            hub = self._hubs.get(name)
            if hub is None or hub.room != room:
                hub = await Hub.open(self._chats, jid.bare, room)
                hub.on_left = partial(self.left, hub=hub)
            await hub.enter(session, jid.resource or "", history, created=created)
            # Only while somebody is in a room is it followed.
            if session in hub.sessions:
                self._hubs[name] = hub
                session.kept(_Place).hubs[name] = hub
        if self._opening.get(name) is lock and not lock.locked():
            del self._opening[name]

    def left(self, session: Session, hub: Hub) -> None:
        """Forget that a session is in a room."""
        name = hub.jid.local or ""
        hub.sessions.pop(session, None)
        session.kept(_Place).hubs.pop(name, None)
        if not hub.sessions and self._hubs.get(name) is hub:
            del self._hubs[name]
            self._typing.pop(name, None)

    def end(self, session: Session) -> None:
        """Forget a session that has ended. Nobody is told: the user is still in the rooms."""
        for hub in list(session.kept(_Place).hubs.values()):
            self.left(session, hub)

    def look_at(self, user_id: UserID) -> None:
        """Tell in all rooms how available somebody is, if that has changed."""
        for hub in self._hubs.values():
            hub.look_at(user_id)

    def count(self, session: Session) -> int:
        """Return in how many rooms a session is."""
        return len(session.kept(_Place).hubs)

    async def catch_up(self, account: Account, news: News) -> None:
        """Let the rooms in which a user is tell what is new."""
        hubs = {hub for session in account.sessions.values() for hub in session.kept(_Place).hubs.values()}
        changed = set(news.rooms)
        for hub in hubs:
            if news.personal or hub.room in changed:
                await hub.catch_up(news.until)
        if hubs and news.ephemeral_until > news.ephemeral_since:
            typing = self._chats.services.typing.since(news.ephemeral_since, {hub.room for hub in hubs})
            for hub in hubs:
                hub.look(news.ephemeral_until)
                if hub.room in typing:
                    name = hub.jid.local or ""
                    now = set(typing[hub.room])
                    hub.tell_typing(now, self._typing.get(name, set()))
                    self._typing[name] = now
