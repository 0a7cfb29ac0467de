"""From a stanza to what answers it. One module an extension (XEP), each with `FEATURES` and `HANDLERS`.

    FEATURES = {Place.SERVER: ("urn:xmpp:ping",), Place.ACCOUNT: ("urn:xmpp:ping",)}
    HANDLERS = {(Place.SERVER, Kind.GET, "urn:xmpp:ping", "ping"): ping, ...}

    async def ping(session: Session, iq: Element) -> Element: ...

* An iq's key is the place it is sent to, get or set, and namespace and name of its child. The handler gets the whole
  iq, its `from` set to the session's full JID, and returns the answer (`stanza.result(iq, ...)`), or None if it has
  arranged for one itself. It raises `StanzaError` or any `MatrixError` to refuse.
* Messages and presence have one handler a place: `(Place.ROOM, Kind.MESSAGE, CLIENT, "message")`. They return None.
* No handler: an iq is answered with `service-unavailable`, so is a message; presence is dropped.

What a module claims in `FEATURES` stands in disco of that place; claim only what `HANDLERS` does.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import structlog

from federation.core.errors import InvalidIdentifier
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import MatrixError
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.refusals import refusal

if TYPE_CHECKING:
    from homeserver.xmpp.session import Session

log = structlog.get_logger()


class Kind(Enum):
    """What a stanza is for."""

    GET = auto()
    SET = auto()
    MESSAGE = auto()
    PRESENCE = auto()


Key: TypeAlias = tuple[Place, Kind, str, str]
"""Place, kind, namespace and name: of the child for an iq, of the stanza itself otherwise."""
Handler: TypeAlias = "Callable[[Session, Element], Awaitable[Element | None]]"
Guard: TypeAlias = "Callable[[Session, Place, Jid | None, Element], Awaitable[bool]]"
"""Returns whether a stanza may go where it is sent to; if not it is dropped. Raises `StanzaError` to refuse it."""


class Identity(NamedTuple):
    """What an address is, in the words of https://xmpp.org/registrar/disco-categories.html."""

    category: str
    type: str
    name: str = ""


class Extension(Protocol):
    """What a module of an extension exports."""

    @property
    def FEATURES(self) -> Mapping[Place, tuple[str, ...]]:  # noqa: N802 - a constant of the module
        """What disco tells of each place."""
        ...

    @property
    def HANDLERS(self) -> Mapping[Key, Handler]:  # noqa: N802 - a constant of the module
        """What answers."""
        ...


class Router:
    """Knows what handles a stanza."""

    def __init__(
        self,
        modules: Iterable[Extension],
        identities: Mapping[Place, Sequence[Identity]],
        guards: Sequence[Guard] = (),
        may_reach: "Callable[[Session, Jid], Awaitable[bool]] | None" = None,
    ) -> None:
        """Take the handlers of all modules, what each place is, and what looks at stanzas first.

        `may_reach` says whether a session may ask somebody else's. Raises ValueError where two modules claim the same.
        """
        self.identities = identities
        self._guards = guards
        self._may_reach = may_reach
        self._handlers: dict[Key, Handler] = {}
        self.features: dict[Place, list[str]] = {place: [] for place in Place}
        for module in modules:
            for key, handler in module.HANDLERS.items():
                if key in self._handlers:
                    raise ValueError(f"{key} is claimed twice")
                self._handlers[key] = handler
            for place, features in module.FEATURES.items():
                self.features[place].extend(features)

    async def route(self, session: "Session", stanza: Element) -> None:
        """Handle a stanza of a session: answer it, or tell what is wrong with it."""
        try:
            answer = await self._handle(session, stanza)
        except StanzaError as why:
            answer = _refused(stanza, why)
        except MatrixError as why:
            answer = _refused(stanza, refusal(why))
        except Exception:
            log.exception("stanza_failed", kind=stanza.name)
            answer = _refused(stanza, StanzaError(StanzaCondition.INTERNAL_SERVER_ERROR))
        if answer is not None:
            session.send(answer)

    async def _handle(self, session: "Session", stanza: Element) -> Element | None:
        to = _address(stanza)
        stanza.attributes["from"] = str(session.jid)
        place = session.addresses.place(session.jid, to)
        for guard in self._guards:
            if not await guard(session, place, to, stanza):
                return None
        if stanza.name != stanzas.IQ:
            kind = Kind.MESSAGE if stanza.name == stanzas.MESSAGE else Kind.PRESENCE
            handler = self._handlers.get((place, kind, stanza.namespace, stanza.name))
            if handler is not None:
                return await handler(session, stanza)
            if kind is Kind.MESSAGE:
                raise StanzaError(_nobody(place))
            return None
        stanzas.check_iq(stanza)
        kind_of_iq = {"get": Kind.GET, "set": Kind.SET}.get(stanza.attributes["type"])
        if kind_of_iq is None:
            await session.answered(to, stanza)
            return None
        payload = stanzas.payload_of(stanza)
        handler = self._handlers.get((place, kind_of_iq, payload.namespace, payload.name))
        if handler is None and place is Place.SESSION and to is not None:
            if to.bare != session.jid.bare and (self._may_reach is None or not await self._may_reach(session, to)):
                # Strangers would learn who is online by asking.
                raise StanzaError(StanzaCondition.SERVICE_UNAVAILABLE)
            session.accounts.pass_on(to, stanza)
            return None
        if handler is None:
            raise StanzaError(_nobody(place))
        return await handler(session, stanza)


def _address(stanza: Element) -> Jid | None:
    to = stanza.get("to")
    if to is None:
        return None
    try:
        return Jid.parse(to)
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error


def _nobody(place: Place) -> StanzaCondition:
    # https://www.rfc-editor.org/rfc/rfc6120#section-10.4: there are no streams to other XMPP servers.
    if place is Place.ELSEWHERE:
        return StanzaCondition.REMOTE_SERVER_NOT_FOUND
    return StanzaCondition.SERVICE_UNAVAILABLE


def _refused(stanza: Element, why: StanzaError) -> Element | None:
    return stanzas.error(stanza, why) if stanzas.may_be_answered(stanza) else None
