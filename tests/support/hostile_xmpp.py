"""What clients of XMPP could send who mean no good, or know no better."""

import re

from hypothesis import strategies as st

from federation.core.xmpp.element import Element
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver import xmpp
from homeserver.xmpp.router import Kind
from tests.support.raw_xmpp import HEADER

BYTES = st.sampled_from(
    [
        HEADER.encode(), b"<?xml version='1.0' encoding='UTF-16'?>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<!--", b"-->",
        b"<?p ?>", b"<a", b">", b"/>", b"</a>", b"<a>", b"<b:c", b" xmlns:b='urn:b'", b" xmlns=''", b" d='", b"'", b"&",
        b"&amp;", b"&#0;", b"&#x10FFFF;", b"&b;", b"<![CDATA[", b"]]>", b"\xff", b"\x00", b"\xed\xa0\x80", b"\xe2\x80",
        b"\xac", b" ", b"\n", b"<message><body>hi</body></message>", b"</stream:stream>", b"<" + b"a" * 5000,
        b"x" * 20000, b"<a>" * 20, b"<a/>" * 70, b"<a " + b" ".join(b"a%d=''" % n for n in range(40)) + b"/>",
        b" xml:lang='de'", b"<a xmlns:x='urn:x' x:y='z'/>", b"\x0c", b"<stream:features/>",
    ]
) | st.binary(max_size=12)  # fmt: skip

ADDRESSES = (
    None, "hs1", "alice@hs1", "alice@hs1/play", "alice@hs1/other", "bob@hs1", "bob@hs1/play", "carol@hs1", "rooms.hs1",
    "upload.hs1", "mx.hs1", "tea@rooms.hs1", "tea@rooms.hs1/alice", "tea@rooms.hs1/bob", "tea@rooms.hs1/x",
    "milk@rooms.hs1", "milk@rooms.hs1/alice", "#tea%other.org@rooms.hs1", "!x%hs1@rooms.hs1/a", "x%other.org@mx.hs1",
    "x@other.org", "x@y@z", "", "@", "/", "hs1/x", "rooms.hs1/x", "^@hs1", "a\u202eb@hs1",
    "\u00fc\U0001f600@rooms.hs1/\u00e4",
    "%@mx.hs1", "x@upload.hs1", "x" * 1100 + "@hs1",
)  # fmt: skip
ODD = (
    "", " ", "x", "0", "1", "-1", "true", "99999999999999999999999999", "1e9", "\u0663", "NaN", "10", "1" * 5000,
    "00000000000000000001" + "9" * 5000, "urn:xmpp:bookmarks:1", "storage:bookmarks", "urn:x", "$x", "$" + "A" * 43,
    "2024-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "2024-01-01T00:00:00.123456789Z", "open", "whitelist", "owner", "admin", "member", "none", "outcast", "moderator",
    "visitor", "\u202e", "\U0001f600", "e\u0301", "\ufdfa" * 50, "x" * 5000, "> quoted", "*a* _b_ `c` ~d~\n```\ne",
    "/me x",
    "https://hs1/_isthmus/xmpp/files/a/b/c/d", "mxc://a/b", "alice", "bob", "get", "set", "result", "error", "cancel",
    "submit", "subscribe", "unsubscribe", "unavailable", "probe", "groupchat", "headline",
)  # fmt: skip
NAMES = (
    "id", "to", "from", "type", "node", "var", "jid", "nick", "affiliation", "role", "name", "subscription", "size",
    "filename", "max_items", "maxstanzas", "seconds", "since", "maxchars", "start", "end", "for", "xml:lang", "ver",
    "autojoin", "queryid", "hash", "reason", "{urn:x}y",
)  # fmt: skip
MUC = "http://jabber.org/protocol/muc"
PUBSUB = "http://jabber.org/protocol/pubsub"
FLAGS = (
    "roomname", "roomdesc", "publicroom", "membersonly", "moderatedroom", "changesubject", "allowinvites",
    "persistentroom",
)  # fmt: skip


def field(name: str, value: str) -> str:
    """Return a field of a form."""
    return f"<field var='{name}'><value>{value}</value></field>"


def form(kind: str, *fields: str) -> str:
    """Return a form that is filled in."""
    return f"<x xmlns='jabber:x:data' type='submit'>{field('FORM_TYPE', kind)}{''.join(fields)}</x>"


def pubsub(held: str, kind: str = "") -> str:
    """Return a request about published items."""
    return f"<pubsub xmlns='{PUBSUB}{kind}'>{held}</pubsub>"


def publish(node: str, item: str, payload: str, options: str = "") -> str:
    """Return a request to publish something."""
    return pubsub(f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>{options}")


PAYLOADS = (
    *(
        f"<{name} xmlns='{namespace}'/>"
        for module in xmpp.MODULES
        for _, kind, namespace, name in module.HANDLERS
        if kind in (Kind.GET, Kind.SET)
    ),
    "<query xmlns='jabber:iq:roster'><item jid='carol@hs1' name='C'><group>x</group></item></query>",
    "<query xmlns='jabber:iq:roster'><item jid='carol@hs1' subscription='remove'/></query>",
    "<query xmlns='jabber:iq:private'><a xmlns='urn:x'>1</a></query>",
    "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='milk@rooms.hs1' "
    "autojoin='1'><nick>a</nick></conference></storage></query>",
    "<block xmlns='urn:xmpp:blocking'><item jid='carol@hs1'/></block>",
    "<unblock xmlns='urn:xmpp:blocking'><item jid='carol@hs1'/></unblock>",
    f"<query xmlns='{MUC}#admin'><item affiliation='member'/></query>",
    f"<query xmlns='{MUC}#admin'><item role='moderator'/></query>",
    f"<query xmlns='{MUC}#admin'><item affiliation='admin' jid='bob@hs1'><reason>x</reason></item></query>",
    f"<query xmlns='{MUC}#admin'><item role='none' nick='bob'/></query>",
    f"<query xmlns='{MUC}#owner'>{form(f'{MUC}#roomconfig')}</query>",
    f"<query xmlns='{MUC}#owner'>"
    + form(f"{MUC}#roomconfig", *(field(f"muc#roomconfig_{name}", "1") for name in FLAGS))
    + "</query>",
    f"<query xmlns='{MUC}#owner'><destroy/></query>",
    "<query xmlns='urn:xmpp:mam:2' queryid='q'>"
    + form("urn:xmpp:mam:2", field("with", "bob@hs1"), field("start", "2024-01-01T00:00:00Z"))
    + "<set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set></query>",
    "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>5</max><after>$x</after></set>"
    "<flip-page/></query>",
    pubsub("<items node='urn:x' max_items='1'><item id='a'/></items>"),
    pubsub("<items node='urn:xmpp:bookmarks:1'/>"),
    pubsub("<retract node='urn:x' notify='1'><item id='a'/></retract>"),
    pubsub("<create node='urn:y'/>"),
    pubsub(f"<configure node='urn:x'>{form(f'{PUBSUB}#node_config')}</configure>", "#owner"),
    pubsub("<delete node='urn:x'/>", "#owner"),
    publish(
        "urn:x", "a", "<b xmlns='urn:b'>c</b>",
        f"<publish-options>{form(f'{PUBSUB}#publish-options', field('pubsub#access_model', 'open'))}</publish-options>",
    ),
    publish("urn:xmpp:bookmarks:1", "milk@rooms.hs1", "<conference xmlns='urn:xmpp:bookmarks:1' autojoin='true'/>"),
    publish(
        "storage:bookmarks", "current",
        "<storage xmlns='storage:bookmarks'><conference jid='milk@rooms.hs1'/></storage>",
    ),
    publish(
        "urn:xmpp:avatar:metadata", "a",
        "<metadata xmlns='urn:xmpp:avatar:metadata'><info bytes='1' id='a' type='image/png'/></metadata>",
    ),
    publish("urn:xmpp:avatar:data", "a", "<data xmlns='urn:xmpp:avatar:data'>AAAA</data>"),
    publish("http://jabber.org/protocol/nick", "a", "<nick xmlns='http://jabber.org/protocol/nick'>A</nick>"),
    publish(
        "urn:xmpp:mds:displayed:0", "tea@rooms.hs1",
        "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='tea@rooms.hs1' id='$x'/>"
        "</displayed>",
    ),
    "<request xmlns='urn:xmpp:http:upload:0' filename='a.png' size='10' content-type='image/png'/>",
    "<query xmlns='jabber:iq:register'><remove/></query>",
    "<query xmlns='jabber:iq:register'><username>alice</username><password>correct horse battery</password></query>",
    "<moderate xmlns='urn:xmpp:message-moderate:1' id='$x'><retract xmlns='urn:xmpp:message-retract:1'/></moderate>",
    "<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO></vCard>",
    "<credentials xmlns='urn:xmpp:extdisco:2'><service host='x' type='turn'/></credentials>",
    "<enable xmlns='urn:xmpp:carbons:2'/>", "<x xmlns='urn:nobody:knows'/>",
)  # fmt: skip
SAYINGS = (
    "<body>hello</body>", "<body>bob: hi</body>", "<subject>new</subject>", "<body/>",
    "<body>x</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>",
    "<body>&gt; q\nx</body><reply xmlns='urn:xmpp:reply:0' to='bob@hs1' id='$x'/><fallback xmlns='urn:xmpp:fallback:0' "
    "for='urn:xmpp:reply:0'><body start='0' end='4'/></fallback>",
    "<reactions xmlns='urn:xmpp:reactions:0' id='m1'><reaction>\U0001f600</reaction></reactions>",
    "<retract xmlns='urn:xmpp:message-retract:1' id='m1'/>", "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>",
    "<received xmlns='urn:xmpp:receipts' id='m1'/>", "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted><body>x</body>",
    "<body>https://hs1/x</body><x xmlns='jabber:x:oob'><url>https://hs1/x</url></x>",
    f"<x xmlns='{MUC}#user'><invite to='carol@hs1'><reason>x</reason></invite></x>",
    f"<x xmlns='{MUC}#user'><decline to='bob@hs1'/></x>", "<x xmlns='jabber:x:conference' jid='tea@rooms.hs1'/>",
    "<body>x</body><thread>t</thread><origin-id xmlns='urn:xmpp:sid:0' id='o'/>",
    f"<event xmlns='{PUBSUB}#event'/>", "",
)  # fmt: skip
SHOWN = (
    "", f"<x xmlns='{MUC}'><history maxstanzas='5'/></x>", f"<x xmlns='{MUC}'><password>x</password></x>",
    "<show>away</show><status>x</status><priority>5</priority>", "<priority>-1</priority>", "<show>nonsense</show>",
    "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='x'/>",
    "<x xmlns='vcard-temp:x:update'><photo>abc</photo></x>", f"<x xmlns='{MUC}'><history since='x' seconds='y'/></x>",
)  # fmt: skip
TYPES = {
    "iq": ("get", "get", "set", "set", "result", "error", "put", None),
    "message": ("groupchat", "groupchat", "chat", "normal", "headline", "error", "x", None),
    "presence": ("unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error", "x", None),
}
# What can be written as it is.
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=10)
PROPER = {
    f"{MUC}#admin": ("tea@rooms.hs1",),
    f"{MUC}#owner": ("tea@rooms.hs1", "milk@rooms.hs1"),
    f"{MUC}#user": ("tea@rooms.hs1",),
    MUC: ("tea@rooms.hs1/alice", "milk@rooms.hs1/alice"),
    "urn:xmpp:message-moderate:1": ("tea@rooms.hs1",),
    "urn:xmpp:mam:2": (None, "tea@rooms.hs1"),
    "jabber:iq:register": ("tea@rooms.hs1", "hs1"),
    "urn:xmpp:http:upload:0": ("upload.hs1",),
    "vcard-temp": (None, "bob@hs1", "tea@rooms.hs1"),
    PUBSUB: (None, "bob@hs1"),
    "jabber:iq:search": ("rooms.hs1",),
    "http://jabber.org/protocol/disco#info": (None, "hs1", "rooms.hs1", "tea@rooms.hs1"),
    "http://jabber.org/protocol/disco#items": ("hs1", "rooms.hs1", "tea@rooms.hs1"),
    "urn:xmpp:extdisco:2": ("hs1",),
}
"""Where what is in a namespace is sent by those who know better."""
changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9), max_size=5),
        st.sampled_from(("attribute", "attribute", "remove", "double", "text", "name", "add")),
        st.sampled_from(NAMES), st.sampled_from(ODD) | TEXTS,
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def stanzas(draw: st.DrawFn) -> Element:
    """One thing that a client sends: what some client could mean, with something changed in it."""
    name = draw(st.sampled_from(("iq", "iq", "iq", "message", "message", "presence")))
    held = draw(st.sampled_from({"iq": PAYLOADS, "message": SAYINGS, "presence": SHOWN}[name]))
    stanza = parse_frame(f"<{name} xmlns='jabber:client'>{held}</{name}>".encode(), AFTER_LOGIN)
    to, kind = draw(st.sampled_from(ADDRESSES)), draw(st.sampled_from(TYPES[name]))
    if draw(st.booleans()):
        within = next((child.namespace for child in stanza.elements()), "")
        usual = {"iq": (None,), "message": ("tea@rooms.hs1", "bob@hs1"), "presence": (None,)}[name]
        to = draw(st.sampled_from(PROPER.get(within, usual)))
        if name == "message":
            kind = "groupchat" if to == "tea@rooms.hs1" and within != f"{MUC}#user" else "chat"
        elif name == "presence":
            kind = None
    for key, value in (("to", to), ("type", kind)):
        if value is not None:
            stanza.attributes[key] = value
    for path, how, key, value in draw(changes):
        _change(stanza, path, how, key, value)
    # Hypothesis would find out soon that nothing ends a stream as quickly as that.
    if stanza.attributes.get("from", "alice@hs1") != "alice@hs1" and draw(st.integers(0, 9)):
        del stanza.attributes["from"]
    return stanza


def _change(stanza: Element, path: list[int], how: str, key: str, value: str) -> None:
    holder, found = None, stanza
    for step in path:
        inner = list(found.elements())
        if not inner:
            break
        holder, found = found, inner[step % len(inner)]
    match how:
        case "attribute":
            names = list(found.attributes) or [key]
            found.attributes[key if path and path[-1] > 6 else names[len(path) % len(names)]] = value
        case "remove" if holder is not None:
            holder.children.remove(found)
        case "double" if holder is not None:
            holder.children.append(found)
        case "text":
            found.children = [value]
        case "name" if holder is not None:
            found.name = re.sub("[^a-z]", "x", value) or "x"
        case "add":
            found.children.append(Element("x", value if value.isprintable() and value else "urn:x", {key: "1"}, value))
        case _:
            found.attributes.pop(key, None)
