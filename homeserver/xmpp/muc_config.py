"""A room's configuration form: https://xmpp.org/extensions/xep-0045.html#roomconfig.

Of the many fields that clients send, those that mean something in Matrix change the room's state; others are accepted
where the room is what they want, and refused where it can never be. A cancelled form changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.core.events.content import JoinRule
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from homeserver.storage import rooms
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.affiliations import OWNER_LEVEL
from homeserver.xmpp.forms import FORMS, begun, values_of
from homeserver.xmpp.muc_disco import of_jid
from homeserver.xmpp.room_facts import POWER_LEVELS, RoomFacts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

OWNER = "http://jabber.org/protocol/muc#owner"
CONFIG = "http://jabber.org/protocol/muc#roomconfig"
_TRUE = frozenset(("1", "true"))
_STATE_LEVEL = 50


def _flag(value: bool) -> list[str]:
    return ["1" if value else "0"]


def _fields(facts: RoomFacts, published: bool) -> Sequence[tuple[str, str, str, list[str], list[str]]]:
    """Return name, type, label, value and options of each field."""
    topic_for_all = facts.levels.event_level("m.room.topic", is_state=True) <= facts.levels.users_default
    invites_for_all = facts.levels.invite <= facts.levels.users_default
    return (
        ("muc#roomconfig_roomname", "text-single", "Name", [facts.name or ""], []),
        ("muc#roomconfig_roomdesc", "text-single", "Topic", [facts.view.topic or ""], []),
        ("muc#roomconfig_publicroom", "boolean", "Listed for everybody", _flag(published), []),
        ("muc#roomconfig_membersonly", "boolean", "By invitation only", _flag(facts.members_only), []),
        ("muc#roomconfig_moderatedroom", "boolean", "Moderated", _flag(facts.moderated), []),
        ("muc#roomconfig_changesubject", "boolean", "Anyone may change the topic", _flag(topic_for_all), []),
        ("muc#roomconfig_allowinvites", "boolean", "Anyone may invite", _flag(invites_for_all), []),
        ("muc#roomconfig_persistentroom", "boolean", "Persistent", _flag(True), []),
        ("muc#roomconfig_whois", "list-single", "Who sees addresses", ["anyone"], ["anyone"]),
        ("muc#roomconfig_passwordprotectedroom", "boolean", "With a password", _flag(False), []),
    )


async def get(session: Session, iq: Element) -> Element:
    """Return the form as it is filled in now. Raises `StanzaError`."""
    facts = await of_jid(session, iq.attributes["to"])
    _check_owner(session, facts)
    published = await session.services.db.read(lambda conn: rooms.is_published(conn, facts.nid))
    form = begun("form", CONFIG, "The room's configuration")
    for name, type_, label, values, options in _fields(facts, published):
        field = Element("field", FORMS, {"var": name, "type": type_, "label": label})
        field.add(*(Element("value", FORMS, None, value) for value in values))
        for option in options:
            field.add(Element("option", FORMS, {"label": option}, Element("value", FORMS, None, option)))
        form.add(field)
    return stanzas.result(iq, Element("query", OWNER, None, form))


async def put(session: Session, iq: Element) -> Element:
    """Take the form, or close the room. Raises `StanzaError` and what services raise."""
    facts = await of_jid(session, iq.attributes["to"])
    _check_owner(session, facts)
    query = stanzas.payload_of(iq)
    if query.find("destroy") is not None:
        raise StanzaError(StanzaCondition.NOT_ALLOWED, "Rooms are not destroyed; leave it, or ban everybody")
    form = query.find("x", FORMS)
    if form is None:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a form")
    if form.get("type") == "cancel":
        return stanzas.result(iq)
    wanted = values_of(form)
    _check_possible(wanted)
    await _change_texts(session, facts, wanted)
    await _change_entry(session, facts, wanted)
    await _change_levels(session, facts, wanted)
    return stanzas.result(iq)


def _check_owner(session: Session, facts: RoomFacts) -> None:
    if facts.levels.user_level(session.who.user_id) < OWNER_LEVEL:
        raise StanzaError(StanzaCondition.FORBIDDEN, "Only owners configure a room")


def _check_possible(wanted: Mapping[str, list[str]]) -> None:
    def first(name: str) -> str | None:
        values = wanted.get(f"muc#roomconfig_{name}")
        return values[0] if values else None

    impossible = (
        first("persistentroom") not in (None, *_TRUE)
        or first("passwordprotectedroom") in _TRUE
        or bool(first("roomsecret"))
        or first("whois") not in (None, "anyone")
    )
    if impossible:
        text = "Rooms are persistent, without password, and everybody sees everybody's address"
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, text)


async def _change_texts(session: Session, facts: RoomFacts, wanted: Mapping[str, list[str]]) -> None:
    for field, kind, name, now in (
        ("muc#roomconfig_roomname", "m.room.name", "name", facts.name),
        ("muc#roomconfig_roomdesc", "m.room.topic", "topic", facts.view.topic),
    ):
        text = "\n".join(wanted[field]) if field in wanted else None
        if text is not None and text != (now or ""):
            await session.services.messages.set_state(session.who, facts.room_id, kind, "", {name: text})


async def _change_entry(session: Session, facts: RoomFacts, wanted: Mapping[str, list[str]]) -> None:
    only_members = _wanted_flag(wanted, "muc#roomconfig_membersonly")
    if only_members is not None and only_members != facts.members_only:
        rule = JoinRule.INVITE if only_members else JoinRule.PUBLIC
        content = {"join_rule": rule.value}
        await session.services.messages.set_state(session.who, facts.room_id, "m.room.join_rules", "", content)
    public = _wanted_flag(wanted, "muc#roomconfig_publicroom")
    if public is not None:
        published = await session.services.db.read(lambda conn: rooms.is_published(conn, facts.nid))
        if public != published:
            await session.services.public_rooms.publish(session.who, facts.room_id, public)


async def _change_levels(session: Session, facts: RoomFacts, wanted: Mapping[str, list[str]]) -> None:
    """Carry what needs a power level into that of the room, in one event."""
    levels, content = facts.levels, dict(facts.levels_content)
    events: dict[str, Any] = dict(content.get("events") or {})
    anybody = levels.users_default
    subject = _wanted_flag(wanted, "muc#roomconfig_changesubject")
    if subject is not None and subject != (levels.event_level("m.room.topic", is_state=True) <= anybody):
        events["m.room.topic"] = anybody if subject else max(_STATE_LEVEL, anybody + 1)
    invites = _wanted_flag(wanted, "muc#roomconfig_allowinvites")
    if invites is not None and invites != (levels.invite <= anybody):
        content["invite"] = anybody if invites else max(_STATE_LEVEL, anybody + 1)
    moderated = _wanted_flag(wanted, "muc#roomconfig_moderatedroom")
    if moderated is not None and moderated != facts.moderated:
        events.pop("m.room.message", None)
        content["events_default"] = anybody + 1 if moderated else anybody
    if events != (content.get("events") or {}):
        content["events"] = events
    if content != facts.levels_content:
        await session.services.messages.set_state(session.who, facts.room_id, POWER_LEVELS, "", content)


def _wanted_flag(wanted: Mapping[str, list[str]], name: str) -> bool | None:
    values = wanted.get(name)
    return values[0] in _TRUE if values else None


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    (Place.ROOM, Kind.GET, OWNER, "query"): get,
    (Place.ROOM, Kind.SET, OWNER, "query"): put,
}
