"""Personal eventing: what users publish, for others or for their own clients: https://xmpp.org/extensions/xep-0163.html.

Who hears of it: the user's own sessions and those of contacts, as far as they say so by `+notify`. `NODES` are those
that the server itself fills; everything else is kept as it was published.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.core.ids import DeviceID, UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.errors import NotFound
from homeserver.model.accounts import Requester
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services.pep import DEFAULTS, Mismatch
from homeserver.xmpp import avatars, bookmarks, displayed, interests, roster
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.disco import ITEMS, form
from homeserver.xmpp.eventing import EVENT, event, send
from homeserver.xmpp.forms import FORMS
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = "http://jabber.org/protocol/pubsub#owner"
ERRORS = "http://jabber.org/protocol/pubsub#errors"
CONFIG = "http://jabber.org/protocol/pubsub#node_config"
_ACCESS = frozenset(("open", "presence", "whitelist"))
LONGEST_OPTION = 100
LARGEST_ANSWER = 1024 * 1024
"""About how many bytes of items are told at once; of more, the newest."""
_COMPARED = ("pubsub#access_model", "pubsub#max_items", "pubsub#persist_items")
_TRUE = {"true": "1", "false": "0"}

Items = Sequence[tuple[str, Element]]


@dataclass(frozen=True, slots=True)
class OwnNode:
    """A node that the server fills."""

    read: Callable[[Session], Awaitable[Items]]
    publish: Callable[[Session, str, Element], Awaitable[None]]
    retract: Callable[[Session, str], Awaitable[None]]
    of_other: Callable[[Session, UserID], Awaitable[Items]] | None = None
    """Returns another user's items; without, the node is for the user alone."""
    introduced: bool = True
    """Whether a client that comes is told of the items at once."""

    @property
    def access(self) -> str:
        """The node's access model."""
        return "whitelist" if self.of_other is None else "open"

    def allows(self, options: Mapping[str, str]) -> bool:
        """Return whether a node is as a client wants it: what everybody may see was never only for contacts."""
        wanted = options.get("pubsub#access_model", self.access)
        return wanted == self.access or (self.of_other is not None and wanted == "presence")


def _public(
    read: Callable[[Session, UserID], Awaitable[Items]],
    publish: Callable[[Session, str, Element], Awaitable[None]],
    retract: Callable[[Session, str], Awaitable[None]],
) -> OwnNode:
    return OwnNode(lambda session: read(session, session.who.user_id), publish, retract, read, introduced=False)


NODES: Mapping[str, OwnNode] = {
    bookmarks.NODE: OwnNode(bookmarks.read, bookmarks.publish, bookmarks.retract),
    bookmarks.LEGACY: OwnNode(bookmarks.read_legacy, bookmarks.publish_legacy, bookmarks.retract_legacy),
    displayed.NODE: OwnNode(displayed.read, displayed.publish, displayed.retract, introduced=False),
    avatars.DATA: _public(avatars.read_data, avatars.publish_data, avatars.retract_data),
    avatars.METADATA: _public(avatars.read_metadata, avatars.publish_metadata, avatars.retract_metadata),
    avatars.NICK: _public(avatars.read_nick, avatars.publish_nick, avatars.retract_nick),
}


async def get(session: Session, iq: Element) -> Element:
    """Return items of a node, one's own or a contact's. Raises `StanzaError`."""
    asked = stanzas.payload_of(iq).find("items")
    if asked is None:
        raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED)
    node = _node(asked)
    wanted = [item.get("id") or "" for item in asked.find_all("item")]
    most = asked.get("max_items") or ""
    limit = int(most[:6]) if most.isdecimal() else None
    items = await _items(session, iq, node, wanted or None, limit)
    found = Element("items", PUBSUB, {"node": node})
    found.add(*(Element("item", PUBSUB, {"id": name}, payload) for name, payload in items))
    return stanzas.result(iq, Element("pubsub", PUBSUB, None, found))


async def _items(session: Session, iq: Element, node: str, wanted: list[str] | None, limit: int | None) -> Items:
    own = NODES.get(node)
    if session.place_of(iq) is Place.ACCOUNT:
        if own is not None:
            return _chosen(await own.read(session), wanted, limit)
        found = await session.services.pep.find(session.who.user, node, wanted, limit)
    else:
        owner = Jid.parse(iq.attributes["to"])
        user_id = session.addresses.user(owner)
        if own is not None and own.of_other is not None and user_id is not None:
            return _chosen(await own.of_other(session, user_id), wanted, limit)
        user = (
            await session.services.db.read(lambda conn: session.services.history.names.user(conn, user_id))
            if user_id is not None
            else None
        )
        if user is None or user_id is None or own is not None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
        found = await session.services.pep.find(user, node, wanted, limit)
        await _check_may_read(session, user_id, user, found.config["pubsub#access_model"])
    told: list[tuple[str, Element]] = []
    size = 0
    for name, payload in reversed(found.items):
        size += len(payload)
        if told and size > LARGEST_ANSWER:
            break
        told.append((name, parse_frame(payload, AFTER_LOGIN)))
    return told[::-1]


def _chosen(items: Items, wanted: list[str] | None, limit: int | None) -> Items:
    found = [each for each in items if wanted is None or each[0] in wanted]
    return found[-limit:] if limit else found


async def _check_may_read(session: Session, owner: UserID, user: UserNid, access: str) -> None:
    if access != "open" and not (access == "presence" and await _is_seen(session, owner, user)):
        raise StanzaError(StanzaCondition.NOT_AUTHORIZED, "This is not for you")


async def nodes(session: Session, iq: Element) -> Element:
    """Tell which nodes there are that the user may read, or the items of one: XEP-0163, section 6.2."""
    node = stanzas.payload_of(iq).get("node")
    query = Element("query", ITEMS, {"node": node})
    if node is not None:
        for name, _ in await _items(session, iq, node, None, None):
            query.add(Element("item", ITEMS, {"jid": iq.get("to") or str(session.jid.bare), "name": name}))
        return stanzas.result(iq, query)
    is_own = session.place_of(iq) is Place.ACCOUNT
    owner = session.jid.bare if is_own else Jid.parse(iq.attributes["to"])
    user_id = session.addresses.user(owner)
    names = session.services.history.names
    user = await session.services.db.read(lambda conn: names.user(conn, user_id)) if user_id is not None else None
    kept = await session.services.pep.nodes(user) if user is not None else {}
    seen = kept and user_id is not None and user is not None and await _is_seen(session, user_id, user)
    allowed = ("open", "presence") if seen else ("open",)
    readable = {name for name, config in kept.items() if is_own or config["pubsub#access_model"] in allowed}
    filled = {name for name, each in NODES.items() if is_own or each.of_other is not None}
    for name in sorted(readable | filled):
        query.add(Element("item", ITEMS, {"jid": str(owner), "node": name}))
    return stanzas.result(iq, query)


async def _is_seen(session: Session, owner: UserID, user: UserNid) -> bool:
    """Return whether somebody shows their presence to the user of a session.

    By what they say themselves: anybody can begin a chat with anybody, and call them a contact.
    """
    shown = await roster.of_user(session, Requester(owner, user, DeviceID(""), DeviceNid(0)))
    return any(item.jid == str(session.jid.bare) and item.subscription in ("both", "from") for item in shown)


async def put(session: Session, iq: Element) -> Element:
    """Publish, retract or make something. Raises `StanzaError` and what services raise."""
    asked = stanzas.payload_of(iq)
    publish, retract, create = asked.find("publish"), asked.find("retract"), asked.find("create")
    if publish is not None:
        return await _publish(session, iq, publish, _options(asked.find("publish-options")))
    if retract is not None:
        return await _retract(session, iq, retract)
    if create is not None and create.get("node") in NODES:
        raise StanzaError(StanzaCondition.CONFLICT, "This node is always there")
    if create is not None:
        await session.services.pep.configure(session.who, _node(create), _options(asked.find("configure")))
        return stanzas.result(iq)
    raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED)


async def _publish(session: Session, iq: Element, publish: Element, options: Mapping[str, str]) -> Element:
    node, names = _node(publish), []
    for item in publish.find_all("item"):
        payload = next(item.elements(), None)
        if payload is None:
            raise StanzaError(StanzaCondition.BAD_REQUEST, "an item needs a payload")
        name = item.get("id") or session.services.ids.letters(16)
        names.append(name)
        own = NODES.get(node)
        if own is not None:
            if not own.allows(options):
                raise _mismatch()
            await own.publish(session, name, payload)
            continue
        stored = serialise(payload, "").encode()
        compared = {key: value for key, value in options.items() if key in _COMPARED}
        try:
            config = await session.services.pep.publish(session.who, node, name, stored, compared)
        except Mismatch as error:
            raise _mismatch() from error
        await _notify(session, node, [Element("item", EVENT, {"id": name}, payload)], config)
    made = Element("publish", PUBSUB, {"node": node})
    made.add(*(Element("item", PUBSUB, {"id": name}) for name in names))
    return stanzas.result(iq, Element("pubsub", PUBSUB, None, made))


def _mismatch() -> StanzaError:
    """https://xmpp.org/extensions/xep-0060.html#publisher-publish-options"""
    text = "The node is configured in another way"
    return StanzaError(StanzaCondition.CONFLICT, text, detail=("precondition-not-met", ERRORS))


async def _retract(session: Session, iq: Element, retract: Element) -> Element:
    node = _node(retract)
    for item in retract.find_all("item"):
        name = item.get("id") or ""
        own = NODES.get(node)
        if own is not None:
            await own.retract(session, name)
            continue
        await session.services.pep.retract(session.who, node, name)
        config = (await session.services.pep.find(session.who.user, node, limit=1)).config
        await _notify(session, node, [Element("retract", EVENT, {"id": name})], config)
    return stanzas.result(iq)


async def configuration(session: Session, iq: Element) -> Element:
    """Return how a node is configured, as a form. Raises `StanzaError`."""
    asked = stanzas.payload_of(iq).find("configure")
    if asked is None:
        raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED)
    node = _node(asked)
    own = NODES.get(node)
    if own is not None:
        most = "max" if own.of_other is None else "1"
        config: Mapping[str, str] = {**DEFAULTS, "pubsub#access_model": own.access, "pubsub#max_items": most}
    else:
        config = (await session.services.pep.find(session.who.user, node, limit=1)).config
    shown = form(CONFIG, [(name, [value]) for name, value in config.items()], type_="form")
    configure = Element("configure", OWNER, {"node": node}, shown)
    return stanzas.result(iq, Element("pubsub", OWNER, None, configure))


async def own(session: Session, iq: Element) -> Element:
    """Configure or delete a node. Raises `StanzaError`."""
    asked = stanzas.payload_of(iq)
    configure, delete = asked.find("configure"), asked.find("delete")
    if configure is not None:
        filled, options = NODES.get(_node(configure)), _options(configure)
        if filled is None:
            await session.services.pep.configure(session.who, _node(configure), options)
        elif not filled.allows(options):
            raise StanzaError(StanzaCondition.NOT_ALLOWED, "This node is as it is")
    elif delete is not None and _node(delete) in NODES:
        filled = NODES[_node(delete)]
        if filled.of_other is None:
            raise StanzaError(StanzaCondition.NOT_ALLOWED, "This node is always there")
        # The node stays, but nothing is in it.
        await filled.retract(session, "")
    elif delete is not None:
        await session.services.pep.delete(session.who, _node(delete))
    else:
        raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED)
    return stanzas.result(iq)


async def _notify(session: Session, node: str, items: Iterable[Element], config: Mapping[str, str]) -> None:
    """Tell those who want to hear and may."""
    told = event(node, items)
    send(session.account.available(), node, told, session.jid.bare)
    if config["pubsub#access_model"] == "whitelist":
        return
    for contact in await roster.near(session):
        account = session.accounts.at(Jid.parse(contact.jid))
        if account is not None and contact.subscription in ("both", "from"):
            send(account.available(), node, told, session.jid.bare)


async def presence(session: Session) -> None:
    """Ask a client what it wants to hear of, when it says that it can do something new; tell it the last of that."""
    session.accounts.soon(_introduce(session)).set_name("xmpp-interests")


async def _introduce(session: Session) -> None:
    new = await interests.learn(session)
    if not new:
        return
    for node in (node for node in new & NODES.keys() if NODES[node].introduced):
        for name, payload in await NODES[node].read(session):
            send([session], node, event(node, [Element("item", EVENT, {"id": name}, payload)]), session.jid.bare)
    seen = [item for item in await roster.near(session) if item.subscription in ("both", "to")]
    await _tell_of(session, [session.jid.bare, *(Jid.parse(item.jid) for item in seen)], new)
    await avatars.introduce(session, new)


async def introduce(session: Session, owner: Jid) -> None:
    """Tell a session the last of what somebody has published whom its user sees from now on."""
    await _tell_of(session, [owner], session.kept(interests.Interests).nodes)
    await avatars.introduce(session)


async def _tell_of(session: Session, owners: Iterable[Jid], wanted: frozenset[str]) -> None:
    users = {user_id: owner for owner in owners if (user_id := session.addresses.user(owner)) is not None}
    names = session.services.history.names
    known = await session.services.db.read(lambda conn: names.user_nids(conn, users))
    for user_id, user in known.items():
        await _tell_last(session, users[user_id], user, wanted)


async def _tell_last(session: Session, owner: Jid, user: UserNid, wanted: frozenset[str]) -> None:
    """Tell a session the newest item of those nodes of somebody that it wants to hear of."""
    user_id = session.addresses.user(owner)
    nodes = {node: config for node, config in (await session.services.pep.nodes(user)).items() if node in wanted}
    own = owner == session.jid.bare
    seen = own or (bool(nodes) and user_id is not None and await _is_seen(session, user_id, user))
    for node, config in nodes.items():
        access = config["pubsub#access_model"]
        if node in NODES or not (own or access == "open" or (access == "presence" and seen)):
            continue
        try:
            found = await session.services.pep.find(user, node, limit=1)
        except NotFound:
            continue
        items = [
            Element("item", EVENT, {"id": name}, parse_frame(payload, AFTER_LOGIN)) for name, payload in found.items
        ]
        if items:
            send([session], node, event(node, items), owner)


def _node(asked: Element) -> str:
    node = asked.get("node")
    if not node:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a node")
    return node


def _options(holder: Element | None) -> dict[str, str]:
    """Return the fields of a form that are about a node."""
    filled = holder.find("x", FORMS) if holder is not None else None
    options = {}
    for field in filled.find_all("field") if filled is not None else ():
        name, value = field.get("var") or "", field.text_of("value") or ""
        if name in DEFAULTS and len(value) <= LONGEST_OPTION:
            options[name] = _TRUE.get(value, value)
    if options.get("pubsub#access_model", "open") not in _ACCESS:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "no such access model")
    return options


_FEATURES = (
    "publish", "publish-options", "persistent-items", "auto-create", "retrieve-items", "retract-items", "delete-nodes",
    "create-nodes", "create-and-configure", "config-node", "config-node-max", "item-ids", "multi-items",
    "last-published", "auto-subscribe", "filtered-notifications", "access-open", "access-presence", "access-whitelist",
)  # fmt: skip
_OF_OTHERS = (
    "retrieve-items", "item-ids", "last-published", "auto-subscribe", "filtered-notifications", "access-open",
    "access-presence",
)  # fmt: skip
"""What there is of it for somebody else than the owner."""
FEATURES: dict[Place, tuple[str, ...]] = {
    Place.USER: (PUBSUB, *(f"{PUBSUB}#{feature}" for feature in _OF_OTHERS)),
    Place.ACCOUNT: (
        PUBSUB,
        *(f"{PUBSUB}#{feature}" for feature in _FEATURES),
        *bookmarks.FEATURES,
        *avatars.FEATURES,
        *displayed.FEATURES,
    ),
}
HANDLERS: dict[Key, Handler] = {
    (Place.ACCOUNT, Kind.GET, PUBSUB, "pubsub"): get,
    (Place.USER, Kind.GET, PUBSUB, "pubsub"): get,
    (Place.ACCOUNT, Kind.GET, ITEMS, "query"): nodes,
    (Place.USER, Kind.GET, ITEMS, "query"): nodes,
    (Place.ACCOUNT, Kind.SET, PUBSUB, "pubsub"): put,
    (Place.ACCOUNT, Kind.GET, OWNER, "pubsub"): configuration,
    (Place.ACCOUNT, Kind.SET, OWNER, "pubsub"): own,
}
