"""Servers that relay calls: https://xmpp.org/extensions/xep-0215.html, with the credentials that Matrix clients get."""

import re
from datetime import UTC, datetime

from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.stanza import payload_of, result
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

RELAYS = "urn:xmpp:extdisco:2"

# https://www.rfc-editor.org/rfc/rfc7065#section-3.1
_uri = re.compile(r"(turns?|stuns?):(\[[^\]]+\]|[^:?]+)(?::([0-9]+))?(?:\?transport=([a-z]+))?").fullmatch


async def tell(session: Session, iq: Element) -> Element:
    """Tell which relays there are, and how to log in to them."""
    wanted = payload_of(iq).get("type")
    answer = Element("services", RELAYS, {"type": wanted})
    answer.add(*(service for service in _services(session) if wanted in (None, service.get("type"))))
    return result(iq, answer)


async def tell_credentials(session: Session, iq: Element) -> Element:
    """Tell how to log in to one relay."""
    asked = next(payload_of(iq).find_all("service"), None)
    for service in _services(session):
        if asked is not None and all(asked.get(key) in (None, service.get(key)) for key in ("host", "type", "port")):
            return result(iq, Element("credentials", RELAYS, {}, service))
    raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)


def _services(session: Session) -> list[Element]:
    credentials = session.services.calls.turn_credentials(session.who.user_id)
    if credentials is None:
        return []
    expires = datetime.fromtimestamp(session.services.clock.now_ms() // 1000 + credentials.ttl, UTC)
    found = []
    for uri in credentials.uris:
        parts = _uri(uri)
        if parts is None:
            continue
        kind, host, port, transport = parts.groups()
        attributes = {
            "type": kind,
            "host": host.strip("[]"),
            "port": port or ("5349" if kind.endswith("s") else "3478"),
            "transport": transport or ("tcp" if kind.endswith("s") else "udp"),
        }
        if kind.startswith("turn"):
            attributes |= {
                "username": credentials.username,
                "password": credentials.password,
                "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "restricted": "true",
            }
        found.append(Element("service", RELAYS, attributes))
    return found


FEATURES = {Place.SERVER: (RELAYS,)}
HANDLERS = {
    (Place.SERVER, Kind.GET, RELAYS, "services"): tell,
    (Place.SERVER, Kind.GET, RELAYS, "credentials"): tell_credentials,
}
