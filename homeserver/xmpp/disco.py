"""What there is at an address, and what it can do: https://xmpp.org/extensions/xep-0030.html.

All answers are made of the tables of `homeserver.xmpp`; rooms and those in them answer for themselves. The server tells
a hash of its answer when a stream begins, so that clients ask once: https://xmpp.org/extensions/xep-0115.html.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from federation.core.ids import server_of
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import payload_of, result
from homeserver.config.schema import Support
from homeserver.xmpp.addresses import Addresses, Place
from homeserver.xmpp.forms import FORMS, begun
from homeserver.xmpp.router import Handler, Identity, Key, Kind, Router
from homeserver.xmpp.session import Session

INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
CAPS = "http://jabber.org/protocol/caps"
CONTACTS = "http://jabber.org/network/serverinfo"
"""https://xmpp.org/extensions/xep-0157.html"""
SOFTWARE = "https://isthmus.example/"
"""The node of the server's capabilities."""

PLACES = (Place.SERVER, Place.ACCOUNT, Place.USER, Place.GATEWAY, Place.ROOMS, Place.UPLOADS)


async def info(session: Session, iq: Element) -> Element:
    """Tell what an address of the server is and can do."""
    router = session.accounts.router
    place = _place(session, iq)
    if not router.identities.get(place):
        raise StanzaError(StanzaCondition.SERVICE_UNAVAILABLE)
    if place is Place.USER:
        await _check_exists(session, Jid.parse(iq.attributes["to"]))
    query = Element("query", INFO, {"node": payload_of(iq).get("node")})
    query.add(*_described(router, place, session.services.config.support))
    if place is Place.UPLOADS:
        # https://xmpp.org/extensions/xep-0363.html#disco
        most = session.services.config.media.max_upload_bytes
        query.add(form("urn:xmpp:http:upload:0", [("max-file-size", [str(most)])]))
    node = query.get("node")
    if node is not None and (place is not Place.SERVER or node != f"{SOFTWARE}#{caps_hash(query)}"):
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    return result(iq, query)


async def items(session: Session, iq: Element) -> Element:
    """Tell which addresses there are below an address of the server."""
    place = _place(session, iq)
    asked = payload_of(iq)
    if asked.get("node") is not None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    query = Element("query", ITEMS)
    if place is Place.SERVER:
        router = session.accounts.router
        for other, domain in _services(session.addresses):
            for identity in router.identities.get(other, ())[:1]:
                query.add(Element("item", ITEMS, {"jid": domain, "name": identity.name or None}))
    return result(iq, query)


FEATURES: Mapping[Place, tuple[str, ...]] = {}
"""That it answers is in every answer."""
HANDLERS: Mapping[Key, Handler] = {
    **{(place, Kind.GET, INFO, "query"): info for place in PLACES},
    # What rooms and nodes there are is told by what knows them.
    **{(place, Kind.GET, ITEMS, "query"): items for place in (Place.SERVER, Place.GATEWAY, Place.UPLOADS)},
}


def capabilities(router: Router, support: Support) -> Element:
    """Return the feature of a stream by which clients know what the server can do."""
    described = Element("query", INFO).add(*_described(router, Place.SERVER, support))
    return Element("c", CAPS, {"hash": "sha-1", "node": SOFTWARE, "ver": caps_hash(described)})


def form(kind: str, fields: Iterable[tuple[str, Sequence[str]]], *, type_: str = "result") -> Element:
    """Return a data form with values only: https://xmpp.org/extensions/xep-0128.html."""
    made = begun(type_, kind)
    for name, values in fields:
        made.add(Element("field", FORMS, {"var": name}, *(Element("value", FORMS, {}, value) for value in values)))
    return made


def identity_element(identity: Identity) -> Element:
    """Return an identity as disco tells it."""
    attributes = {"category": identity.category, "type": identity.type, "name": identity.name or None}
    return Element("identity", INFO, attributes)


def feature_elements(features: Iterable[str]) -> list[Element]:
    """Return features as disco tells them, each once."""
    return [Element("feature", INFO, {"var": feature}) for feature in dict.fromkeys(features)]


def _described(router: Router, place: Place, support: Support) -> list[Element]:
    found = [identity_element(identity) for identity in router.identities.get(place, ())]
    found += feature_elements([INFO, ITEMS, *router.features[place]])
    contacts = _contacts(support)
    if place is Place.SERVER and contacts:
        found.append(form(CONTACTS, contacts))
    return found


def _contacts(support: Support) -> list[tuple[str, list[str]]]:
    fields = [
        ("admin-addresses", [f"mailto:{support.admin_email}"] if support.admin_email else []),
        ("security-addresses", [f"mailto:{support.security_email}"] if support.security_email else []),
        ("support-addresses", [support.page] if support.page else []),
    ]
    return [(name, values) for name, values in fields if values]


async def _check_exists(session: Session, jid: Jid) -> None:
    """See that there is a user of this server; those of others are theirs to know. Raises `NotFound`."""
    user_id = session.addresses.user(jid)
    if user_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    if server_of(user_id) == session.addresses.server_name:
        await session.services.profiles.local(user_id)


def _services(addresses: Addresses) -> Sequence[tuple[Place, str]]:
    return (
        (Place.ROOMS, addresses.rooms),
        (Place.UPLOADS, addresses.uploads),
        (Place.GATEWAY, addresses.gateway),
    )


def _place(session: Session, iq: Element) -> Place:
    return session.place_of(iq)


def caps_hash(query: Element) -> str:
    """Return the hash of an answer: https://xmpp.org/extensions/xep-0115.html#ver."""
    identities = sorted(
        f"{one.get('category')}/{one.get('type')}//{one.get('name') or ''}" for one in query.find_all("identity")
    )
    features = sorted(one.get("var") or "" for one in query.find_all("feature"))
    forms: list[tuple[str, str]] = []
    for one in query.find_all("x", FORMS):
        fields = {field.get("var") or "": [value.text for value in field.find_all("value")] for field in one.elements()}
        kind = "".join(fields.pop("FORM_TYPE", []))
        listed = [f"{name}<" + "".join(f"{value}<" for value in sorted(fields[name])) for name in sorted(fields)]
        forms.append((kind, "".join(listed)))
    # What is sorted are the values themselves: one may be the beginning of another.
    text = "".join(f"{each}<" for each in (*identities, *features))
    text += "".join(f"{kind}<{fields_of_form}" for kind, fields_of_form in sorted(forms))
    return base64.b64encode(hashlib.sha1(text.encode(), usedforsecurity=False).digest()).decode()
