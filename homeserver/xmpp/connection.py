"""One connection of a client: logs it in, and carries stanzas between its stream and its session.

What is read waits in order, and one stanza is handled after the other; a client that sends faster is not read. What is
written never waits: a client that does not read is cut off when too much lies in its buffer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID
from federation.core.xmpp import stream as streams
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import SaslCondition, SaslError, StanzaError, StreamCondition, StreamError
from federation.core.xmpp.framing import Framing
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.sasl import Claim
from federation.core.xmpp.stanza import is_stanza
from homeserver.errors import MatrixError
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.refusals import login_refusal, refusal
from homeserver.xmpp.session import Session

log = structlog.get_logger()

LOGIN_SECONDS = 60.0
"""How long a connection may take until a resource is bound."""
MOST_WAITING = 50
"""Elements read and not handled; above it the connection is not read."""
MOST_UNREAD_BYTES = 4 * 1024 * 1024
"""What may lie in the buffer of a client that does not read."""

Nonza: TypeAlias = "Callable[[Connection, Element], Awaitable[None]]"
"""Handles an element beside stanzas, such as those of XEP-0198."""


class Wire(Protocol):
    """What carries the bytes."""

    address: str
    """Where the client connects from."""

    def write(self, texts: Sequence[str]) -> int:
        """Send; return how many bytes wait to be taken."""
        ...

    async def secure(self) -> bytes | None:
        """Negotiate TLS; return what a login can be bound to. Raises OSError."""
        ...

    def pause(self) -> None:
        """Read nothing for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self) -> None:
        """Close the connection after what was written."""
        ...

    def abort(self) -> None:
        """Cut it off."""
        ...


@dataclass(frozen=True, slots=True)
class Welcome:
    """What all connections share."""

    accounts: Accounts
    settings: streams.Settings
    nonzas: Mapping[tuple[str, str], Nonza]
    """By namespace and name."""
    urgent: Mapping[tuple[str, str], Callable[["Connection", Element], None]]
    """What is done as soon as it comes, once there is a session, whatever came before."""


class Connection:
    """A client's connection."""

    def __init__(
        self, welcome: Welcome, wire: Wire, framing: Framing, *, secure: bool, end_point: bytes | None = None
    ) -> None:
        """Wait for the client's header."""
        self.accounts = welcome.accounts
        self.wire = wire
        self.session: Session | None = None
        self.user: UserID | None = None
        """Who has logged in."""
        self.stream = streams.Stream(welcome.settings, framing, secure=secure, end_point=end_point)
        self._nonzas = welcome.nonzas
        self._urgent = welcome.urgent
        self._working: asyncio.Task[None] | None = None
        self._paused = False
        self._closed = False
        self._writing = False
        self._heard = True
        self._resting = False
        self._timer = asyncio.get_running_loop().call_later(LOGIN_SECONDS, self._too_slow)

    # What happens to the connection

    def receive(self, data: bytes) -> None:
        """Take what the client has sent."""
        if self._closed:
            return
        self._heard = True
        self.stream.receive(data)
        if self.session is not None:
            # Else what it asks for would keep us from hearing that it has got what it asked for before.
            for (namespace, name), handle in self._urgent.items():
                for element in self.stream.pull(namespace, name):
                    handle(self, element)
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="xmpp-connection")
        elif self.stream.backlog > MOST_WAITING and not self._paused:
            self._paused = True
            self.wire.pause()

    def rest(self) -> bool:
        """Let go of what costs memory, if nothing has come since the last call; return whether that is new."""
        if self._heard:
            self._heard = self._resting = False
            return False
        if self._resting:
            return False
        self._resting = True
        self.stream.rest()
        return True

    def lost(self) -> None:
        """Take note that the connection is gone. The session stays if it can be resumed."""
        self._closed = True
        self._timer.cancel()
        session, self.session = self.session, None
        if session is not None and session.connection is self:
            session.connection = None
            self.accounts.connection_lost(session)

    def send(self, element: Element) -> None:
        """Send an element."""
        self.stream.send(element)
        self._write_soon()

    def close(self, why: StreamError | None = None) -> None:
        """End the stream, and then the connection."""
        self.stream.close(why)
        self._finish()

    # How it works

    async def _work(self) -> None:
        """Handle all that is there to be handled."""
        try:
            while not self._closed:
                event = self.stream.next_event()
                if event is None:
                    break
                await self._handle(event)
                self._write()
                self._read_on(MOST_WAITING // 2)
        except Exception:
            log.exception("xmpp_connection_failed")
            self.close(StreamError(StreamCondition.INTERNAL_SERVER_ERROR))
        finally:
            self._working = None
            self._write()
            self._read_on(0)

    def _read_on(self, waiting: int) -> None:
        """Read again once no more than so much waits."""
        if self._paused and not self._closed and self.stream.backlog <= waiting:
            self._paused = False
            self.wire.resume()

    async def _handle(self, event: streams.Event) -> None:
        match event:
            case streams.TlsWanted():
                await self._secure()
            case streams.KeysWanted(claim, mechanism):
                await self._judge(lambda: self._offer_keys(claim, mechanism))
            case streams.Proven(claim):
                await self._judge(lambda: self._proven(claim))
            case streams.PasswordGiven(claim, password):
                await self._judge(lambda: self._check_password(claim, password))
            case streams.BindWanted(resource):
                await self._bind(resource)
            case streams.Received(element):
                await self._received(element)
            case streams.Ended(error):
                if error is not None:
                    log.debug("xmpp_stream_error", condition=error.condition.value, text=error.text)
                self._over(error)

    async def _secure(self) -> None:
        self._write()
        try:
            end_point = await self.wire.secure()
        except OSError as error:
            log.debug("xmpp_tls_failed", reason=str(error))
            self._closed = True
            self.wire.abort()
            return
        self.stream.secured(end_point)

    # Logging in

    async def _judge(self, check: Callable[[], Awaitable[None]]) -> None:
        try:
            await check()
        except MatrixError as error:
            self.stream.refuse(login_refusal(error))
        except SaslError as error:
            self.stream.refuse(error)

    def _whom(self, claim: Claim) -> UserID | None:
        """Return who somebody says they are. Raises `SaslError` if they want to act for somebody else."""
        user_id = self.accounts.addresses.user_named(claim.name)
        if claim.authzid is not None:
            try:
                acting = self.accounts.addresses.user(Jid.parse(claim.authzid))
            except InvalidIdentifier:
                acting = None
            if acting is None or acting != user_id:
                raise SaslError(SaslCondition.INVALID_AUTHZID)
        return user_id

    async def _offer_keys(self, claim: Claim, mechanism: str) -> None:
        services = self.accounts.services
        user_id = self._whom(claim)
        services.limits.take("login", self.wire.address)
        self.stream.offer_keys(await services.scram.keys(user_id, claim.name, mechanism))

    async def _proven(self, claim: Claim) -> None:
        user_id = self._whom(claim)
        if user_id is None:
            raise SaslError(SaslCondition.NOT_AUTHORIZED)
        await self.accounts.services.scram.check(user_id)
        self._accept(user_id)

    async def _check_password(self, claim: Claim, password: str) -> None:
        services = self.accounts.services
        user_id = self._whom(claim)
        services.limits.take("login", self.wire.address)
        account = await services.credentials.check(user_id, password)
        self._accept(account.user_id)

    def _accept(self, user_id: UserID) -> None:
        self.user = user_id
        self.stream.accept(self.accounts.addresses.of_user(user_id))

    async def _bind(self, resource: str | None) -> None:
        assert self.user is not None
        try:
            session = await self.accounts.begin(self.user, resource, self.wire.address)
        except StanzaError as why:
            self.stream.refuse_bind(why)
        except MatrixError as why:
            self.stream.refuse_bind(refusal(why))
        else:
            self.stream.bind(session.jid)
            self.take(session)

    def take(self, session: Session) -> None:
        """Carry a session from now on."""
        self._timer.cancel()
        if session.ended:
            # Its device was logged out meanwhile.
            self.close(StreamError(StreamCondition.RESET))
            return
        if self._closed:
            # The client has gone meanwhile; a session that can be resumed waits for it to try again.
            self.accounts.connection_lost(session)
            return
        self.session = session
        session.connection = self

    # Stanzas

    async def _received(self, element: Element) -> None:
        if not is_stanza(element):
            handle = self._nonzas.get((element.namespace, element.name))
            if handle is None:
                self.close(StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE))
            else:
                await handle(self, element)
            return
        session = self.session
        if session is not None:
            async with session.handling:
                await session.receive(element)
                if session.unacknowledged is not None:
                    session.unacknowledged.handled()

    # The end

    def _over(self, error: StreamError | None) -> None:
        """The stream has ended. If the client wished so, the session ends with it; else it stays to be resumed."""
        session = self.session
        if session is not None and error is None:
            session.end()
        self._finish()

    def _finish(self) -> None:
        self._write()
        if not self._closed:
            self.wire.close()
            self.lost()

    def _too_slow(self) -> None:
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "nobody has logged in"))

    def _write_soon(self) -> None:
        """Write once all that happens now has been sent: many stanzas to one client become one packet."""
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._writing = False
        output = self.stream.take_output()
        if output and not self._closed and self.wire.write(output) > MOST_UNREAD_BYTES:
            log.info("xmpp_client_does_not_read", address=self.wire.address)
            self.wire.abort()
            self.lost()
