"""Nothing lost when a connection breaks: https://xmpp.org/extensions/xep-0198.html.

A session whose client has asked for it stays for `AWAY_SECONDS` without a connection. What is sent to it meanwhile
waits with what the client has not confirmed, and is sent when it is back.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StreamCondition, StreamError
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.connection import Connection, Nonza
from homeserver.xmpp.csi import Inactive
from homeserver.xmpp.session import Session
from homeserver.xmpp.unacknowledged import REQUEST, STREAM_MANAGEMENT, Unacknowledged

AWAY_SECONDS = 300
STREAM_FEATURE = Element("sm", STREAM_MANAGEMENT)


class Resumable:
    """The sessions of a server that can be resumed."""

    def __init__(self, _accounts: Accounts) -> None:
        """Start with none."""
        self.sessions: dict[str, Session] = {}
        """By the name that their client was given."""


@dataclass(slots=True)
class Away:
    """What a session that can be resumed keeps."""

    name: str = ""
    timer: asyncio.TimerHandle | None = None

    def came_back(self) -> None:
        """Wait no longer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


async def enable(connection: Connection, element: Element) -> None:
    """Count stanzas from now on, and let the session be resumed if the client wants that."""
    session = connection.session
    if session is None or session.unacknowledged is not None:
        connection.send(_failed(StanzaCondition.UNEXPECTED_REQUEST))
        return
    session.unacknowledged = Unacknowledged()
    if element.get("resume") not in ("true", "1"):
        connection.send(Element("enabled", STREAM_MANAGEMENT))
        return
    name = session.services.ids.token()
    session.kept(Away).name = name
    session.accounts.kept(Resumable).sessions[name] = session
    session.lingers = _went_away
    told = {"resume": "true", "id": name, "max": str(AWAY_SECONDS)}
    connection.send(Element("enabled", STREAM_MANAGEMENT, told))


async def resume(connection: Connection, element: Element) -> None:
    """Let a connection take up a session of the same user where the connection before it broke."""
    session = connection.accounts.kept(Resumable).sessions.get(element.get("previd") or "")
    if connection.session is not None:
        connection.send(_failed(StanzaCondition.UNEXPECTED_REQUEST))
        return
    if session is None or session.ended or session.who.user_id != connection.user or session.unacknowledged is None:
        connection.send(_failed(StanzaCondition.ITEM_NOT_FOUND))
        return
    waiting = session.unacknowledged
    _take_from(session)
    async with session.handling:
        # What the old connection is just handling counts as handled; what it has only read comes again.
        pass
    # Another one may have resumed it meanwhile, and the newest counts.
    _take_from(session)
    if not waiting.confirm(_number(element)):
        _too_high(connection, session)
        return
    session.kept(Away).came_back()
    connection.stream.resume(session.jid)
    told = {"previd": element.get("previd"), "h": str(waiting.received)}
    connection.send(Element("resumed", STREAM_MANAGEMENT, told))
    connection.take(session)
    # A client that comes back is looked at, until it says otherwise: https://xmpp.org/extensions/xep-0352.html#sm
    held, session.filter = session.filter.release() if session.filter is not None else [], None
    for sent in waiting.waiting():
        connection.send(sent)
    for one in held:
        session.send_now(one)
    if len(waiting):
        connection.send(REQUEST)


async def request(connection: Connection, _element: Element) -> None:
    """Tell how many stanzas of the client were handled."""
    waiting = _counted(connection)
    if waiting is not None:
        connection.send(Element("a", STREAM_MANAGEMENT, {"h": str(waiting.received)}))


def acknowledge(connection: Connection, element: Element) -> None:
    """Forget what the client has got."""
    waiting = _counted(connection)
    if waiting is None or connection.session is None:
        return
    if not waiting.confirm(_number(element)):
        _too_high(connection, connection.session)
    elif waiting.asks_again():
        connection.send(REQUEST)


async def ended(session: Session) -> None:
    """Forget a session that has ended."""
    away = session.kept(Away)
    away.came_back()
    session.accounts.kept(Resumable).sessions.pop(away.name, None)


async def acknowledge_early(connection: Connection, element: Element) -> None:
    """Take what a client says that has no session yet."""
    acknowledge(connection, element)


NONZAS: Mapping[tuple[str, str], Nonza] = {
    (STREAM_MANAGEMENT, "enable"): enable,
    (STREAM_MANAGEMENT, "resume"): resume,
    (STREAM_MANAGEMENT, "r"): request,
    (STREAM_MANAGEMENT, "a"): acknowledge_early,
}
URGENT = {(STREAM_MANAGEMENT, "a"): acknowledge}


def _take_from(session: Session) -> None:
    """Take a session from its connection: the client knows that it is broken before we do."""
    before, session.connection = session.connection, None
    if before is not None:
        before.session = None
        before.close(StreamError(StreamCondition.CONFLICT, "the session was resumed"))


def _went_away(session: Session) -> None:
    away = session.kept(Away)
    away.came_back()
    if session.filter is None:
        # Of who comes and goes it is told the last when it is back; else that alone might be more than is kept for it.
        session.filter = Inactive()
    away.timer = asyncio.get_running_loop().call_later(AWAY_SECONDS, session.end)


def _counted(connection: Connection) -> Unacknowledged | None:
    waiting = connection.session.unacknowledged if connection.session is not None else None
    if waiting is None:
        connection.send(_failed(StanzaCondition.UNEXPECTED_REQUEST))
    return waiting


def _too_high(connection: Connection, session: Session) -> None:
    connection.close(StreamError(StreamCondition.UNDEFINED_CONDITION, "more was confirmed than sent"))
    session.end()


def _failed(why: StanzaCondition) -> Element:
    return Element("failed", STREAM_MANAGEMENT, {}, Element(why.element, namespaces.STANZA_ERRORS))


def _number(element: Element) -> int:
    text = element.get("h") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
