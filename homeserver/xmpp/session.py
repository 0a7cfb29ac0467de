"""A session: a resource of a user that is bound, with or without a connection at the moment (XEP-0198).

Everything an extension needs of whoever sent a stanza is here:

* `services`, `addresses`, `who` (a `Requester`, as Matrix handlers have it), `jid` (full) and `account` (the user with
  all their sessions on this process, and their live feed: see `accounts`);
* `send(element)`: never waits, never fails; a client that does not read is cut off elsewhere. `to` is filled in;
* `await ask(payload)`: sends an iq and returns the client's answer;
* `kept(Type)`: the session's own instance of a class, made at first use, for what an extension keeps of a session;
* `account.sessions` and `account.available()`: the user's other sessions.

What is to happen when a session begins, becomes available or ends, and with each news of the live feed, stands in
`BEGUN`, `ENDED` and `NEWS` of `homeserver.xmpp`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from federation.core.errors import InvalidIdentifier
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StreamCondition, StreamError
from federation.core.xmpp.jid import Jid
from homeserver.errors import LimitExceeded
from homeserver.model.accounts import Requester
from homeserver.services import Services
from homeserver.xmpp.addresses import Addresses, Place
from homeserver.xmpp.unacknowledged import REQUEST, Unacknowledged

if TYPE_CHECKING:
    from homeserver.xmpp.accounts import Account, Accounts
    from homeserver.xmpp.connection import Connection
    from homeserver.xmpp.holding import Filter

log = structlog.get_logger()

T = TypeVar("T")

MOST_ASKED = 100
"""Questions to a client that wait for its answer."""
ASK_SECONDS = 60.0
PATIENCE_SECONDS = 2.0
"""How long what a client sends next waits for an iq, or for presence. Messages wait for each other."""
MOST_SLOW = 10
"""Stanzas of one client that take longer; of more, one is handled after the other."""


class Session:
    """One resource of a user."""

    def __init__(self, account: "Account", who: Requester, token: str, jid: Jid, address: str) -> None:
        """Begin one for the device that `who` has logged in, which an access token stands for."""
        self.account = account
        self.accounts: Accounts = account.accounts
        self.services: Services = account.accounts.services
        self.addresses: Addresses = account.accounts.addresses
        self.who = who
        self.token = token
        self.jid = jid
        self.full = str(jid)
        self.address = address
        """Where the client connects from."""
        self.presence: Element | None = None
        """What the client has told of its availability; None if it is not available."""
        self.priority = 0
        self.connection: Connection | None = None
        self.unacknowledged: Unacknowledged | None = None
        """What the client has not confirmed to have got, if it uses XEP-0198."""
        self.filter: Filter | None = None
        """Holds back what is not urgent, while the client says that nobody looks at it."""
        self.lingers: Callable[[Session], None] | None = None
        """What is told when the connection breaks, if the session stays to be resumed; without, it ends."""
        self.ended = False
        self.handling = asyncio.Lock()
        """Held while a stanza of the client is handled."""
        self._kept: dict[type[Any], Any] = {}
        self._asked: dict[str, tuple[Jid | None, asyncio.Future[Element]]] = {}
        self._passed_on: dict[tuple[str, str], bool] = {}
        """What other sessions have asked of the client: who, and by which ID."""
        self._slow: set[asyncio.Task[None]] = set()
        """What is still being done of what the client has asked for."""

    @property
    def available(self) -> bool:
        """Whether the client has said that it is available."""
        return self.presence is not None

    def kept(self, kind: type[T]) -> T:
        """Return the session's own instance of a class without parameters, the same each time."""
        found = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind()
        return found

    def send(self, element: Element) -> None:
        """Send an element to the client: now, or once it is back; `to` is the session unless it is there."""
        if self.ended:
            return
        if element.name in stanzas.KINDS and "to" not in element.attributes:
            element = element.addressed(self.full)
        if self.filter is None:
            self.send_now(element)
        else:
            for one in self.filter.pass_on(element):
                self.send_now(one)

    def send_now(self, element: Element) -> None:
        """Send an element, held back by nobody."""
        if self.unacknowledged is not None and not self.unacknowledged.add(element):
            self.end(StreamError(StreamCondition.RESOURCE_CONSTRAINT, "the client confirms nothing"))
            return
        if self.connection is not None:
            self.connection.send(element)
            if self.unacknowledged is not None and self.unacknowledged.asks():
                self.connection.send(REQUEST)

    def place_of(self, stanza: Element) -> Place:
        """Return what a stanza of this session is sent to."""
        to = stanza.get("to")
        return self.addresses.place(self.jid, Jid.parse(to) if to is not None else None)

    async def ask(self, payload: Element, *, from_: Jid | None = None, type_: str = "get") -> Element:
        """Send an iq to the client and return its answer, a result or an error. Raises TimeoutError."""
        if self.ended:
            raise TimeoutError
        name = self.services.ids.letters(12)
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        self._asked[name] = (from_, future)
        if len(self._asked) > MOST_ASKED:
            _, oldest = self._asked.pop(next(iter(self._asked)))
            oldest.cancel()
        self.send(stanzas.request(self.jid, payload, type_=type_, id_=name, from_=from_ or self.addresses.domain))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await future
        finally:
            self._asked.pop(name, None)

    def is_asked(self, iq: Element) -> None:
        """Take note that another session asks something of the client."""
        self._passed_on[iq.attributes["from"], iq.attributes["id"]] = True
        if len(self._passed_on) > MOST_ASKED:
            del self._passed_on[next(iter(self._passed_on))]

    async def answered(self, to: Jid | None, answer: Element) -> None:
        """Take the client's answer to an iq: ours, or one of another session, which gets it."""
        name = answer.attributes.get("id", "")
        asked = self._asked.get(name)
        if asked is not None and not asked[1].done():
            asked[1].set_result(answer)
        elif to is not None and not to.is_bare and self._passed_on.pop((str(to), name), False):
            # Answers that nobody has asked for go nowhere.
            self.accounts.answer_to(to, answer)

    async def receive(self, element: Element) -> None:
        """Handle a stanza of the client."""
        claimed = element.get("from")
        if claimed is not None and not self._is_own(claimed):
            # https://www.rfc-editor.org/rfc/rfc6120#section-8.1.2.1: another resource of the same account is put right,
            # which is the router's matter. Converse.js names the one that it was about to bind when it resumed another.
            self.end(StreamError(StreamCondition.INVALID_FROM))
            return
        try:
            self.services.limits.take("default", self.who.user_id)
        except LimitExceeded as slow:
            # Whoever sends too fast waits, and with them their connection, which is not read meanwhile.
            await self.services.clock.sleep(slow.fields["retry_after_ms"] / 1000)
        handling = self.accounts.router.route(self, element)
        if element.name == stanzas.MESSAGE or element.get("to") is None or len(self._slow) >= MOST_SLOW:
            await handling
            return
        # What other servers are asked for may take a minute; meanwhile the client is alive, and may say more.
        task = asyncio.create_task(handling, name="xmpp-stanza")
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not task.done():
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)

    def end(self, why: StreamError | None = None) -> None:
        """End the session for good, and tell the client why if it is connected."""
        if self.ended:
            return
        self.ended = True
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close(why)
        for _, future in self._asked.values():
            future.cancel()
        self.accounts.session_ended(self)

    def _is_own(self, claimed: str) -> bool:
        if claimed in (str(self.jid), str(self.jid.bare)):
            return True
        try:
            return Jid.parse(claimed).bare == self.jid.bare
        except InvalidIdentifier:
            return False
