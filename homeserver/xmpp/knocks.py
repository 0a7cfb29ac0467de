"""What is shown to those who may let somebody into a room that asks for it. Pure."""

from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.xmpp.forms import FORMS, begun

FORM = "http://jabber.org/protocol/muc#register"
REASON, WHO, ALLOW = "muc#register_faqentry", "muc#register_jid", "muc#register_allow"


def request(room: Jid, who: Jid, nick: str, reason: str | None) -> Element:
    """Return what shows to somebody who may decide it that a user asks to be let in.

    Source: https://xmpp.org/extensions/xep-0045.html#regapprove
    """
    fields = [
        (WHO, "jid-single", "Who asks", str(who)),
        ("muc#register_roomnick", "text-single", "Name", nick),
        (REASON, "text-multi", "Why", reason or ""),
        (ALLOW, "boolean", "Let this person in?", "0"),
    ]
    body = Element("body", "jabber:client", None, f"{who} asks to be let in." + (f" {reason}" if reason else ""))
    attributes = {"from": str(room), "type": "normal"}
    return Element("message", "jabber:client", attributes, body, registration_form("form", fields))


def registration_form(kind: str, fields: list[tuple[str, str, str, str]]) -> Element:
    """Return a form of this kind, with name, type, label and value of each field."""
    made = begun(kind, FORM, "To be let in")
    for name, type_, label, value in fields:
        field = Element("field", FORMS, {"var": name, "type": type_, "label": label})
        made.add(field.add(*(Element("value", FORMS, None, line) for line in value.split("\n") if line)))
    return made
