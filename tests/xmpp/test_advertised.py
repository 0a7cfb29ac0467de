"""What is not built is not advertised: everything that disco and the streams tell of is really answered.

A feature that is new has to be tried here, too, or the tests fail.
"""

import re

from federation.core.xmpp.element import Element
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.xmpp.disco import CAPS, INFO, ITEMS
from tests.support.raw_xmpp import RawClient, bound
from tests.support.world import User, World, ok

MUC = "http://jabber.org/protocol/muc"
PUBSUB = "http://jabber.org/protocol/pubsub"
MISSING = ("service-unavailable", "feature-not-implemented")
FORM = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{}</value></field>{}</x>"


def pubsub(held: str, kind: str = "") -> str:
    return f"<pubsub xmlns='{PUBSUB}{kind}'>{held}</pubsub>"


PUBLISH = "<publish node='urn:a'><item id='1'><a xmlns='urn:a'/></item>{}</publish>"


def options(name: str, value: str) -> str:
    field = f"<field var='pubsub#{name}'><value>{value}</value></field>"
    return f"<publish-options>{FORM.format(f'{PUBSUB}#publish-options', field)}</publish-options>"


PROBES: dict[str, tuple[str, str] | None] = {
    INFO: ("get", f"<query xmlns='{INFO}'/>"),
    ITEMS: ("get", f"<query xmlns='{ITEMS}'/>"),
    "urn:xmpp:ping": ("get", "<ping xmlns='urn:xmpp:ping'/>"),
    "jabber:iq:version": ("get", "<query xmlns='jabber:iq:version'/>"),
    "urn:xmpp:time": ("get", "<time xmlns='urn:xmpp:time'/>"),
    "jabber:iq:last": ("get", "<query xmlns='jabber:iq:last'/>"),
    "jabber:iq:roster": ("get", "<query xmlns='jabber:iq:roster'/>"),
    "urn:xmpp:blocking": ("get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
    "urn:xmpp:carbons:2": ("set", "<enable xmlns='urn:xmpp:carbons:2'/>"),
    "jabber:iq:private": ("get", "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"),
    "vcard-temp": ("get", "<vCard xmlns='vcard-temp'/>"),
    "urn:xmpp:extdisco:2": ("get", "<services xmlns='urn:xmpp:extdisco:2'/>"),
    "jabber:iq:search": ("get", "<query xmlns='jabber:iq:search'/>"),
    "http://jabber.org/protocol/rsm": (
        "get", f"<query xmlns='{ITEMS}'><set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set></query>",
    ),
    "urn:xmpp:mam:2": ("set", "<query xmlns='urn:xmpp:mam:2'/>"),
    "urn:xmpp:mam:2#extended": ("get", "<metadata xmlns='urn:xmpp:mam:2'/>"),
    "urn:xmpp:http:upload:0": ("get", "<request xmlns='urn:xmpp:http:upload:0' filename='a.txt' size='5'/>"),
    "jabber:iq:register": ("get", "<query xmlns='jabber:iq:register'/>"),
    "urn:xmpp:bookmarks:1#compat": ("get", pubsub("<items node='urn:xmpp:bookmarks:1'/>")),
    "urn:xmpp:bookmarks:1#compat-pep": ("get", pubsub("<items node='storage:bookmarks'/>")),
    "urn:xmpp:bookmarks-conversion:0": (
        "get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
    ),
    "urn:xmpp:pep-vcard-conversion:0": (
        "set",
        pubsub("<publish node='urn:xmpp:avatar:metadata'><item id='a'><metadata xmlns='urn:xmpp:avatar:metadata'/>"
               "</item></publish>"),
    ),
    "urn:xmpp:mds:server-assist:0": ("get", pubsub("<items node='urn:xmpp:mds:displayed:0'/>")),
    PUBSUB: ("set", pubsub(PUBLISH.format(""))),
    f"{PUBSUB}#publish": ("set", pubsub(PUBLISH.format(""))),
    f"{PUBSUB}#auto-create": ("set", pubsub(PUBLISH.format("").replace("urn:a'><item", "urn:new'><item"))),
    f"{PUBSUB}#item-ids": ("set", pubsub("<publish node='urn:i'><item><a xmlns='urn:a'/></item></publish>")),
    f"{PUBSUB}#multi-items": (
        "set",
        pubsub("<publish node='urn:m'><item id='1'><a xmlns='urn:a'/></item><item id='2'><a xmlns='urn:a'/></item>"
               "</publish>"),
    ),
    f"{PUBSUB}#publish-options": (
        "set", pubsub(PUBLISH.format("").replace("urn:a'><item", "urn:o'><item") + options("access_model", "open")),
    ),
    f"{PUBSUB}#persistent-items": ("get", pubsub("<items node='urn:a'/>")),
    f"{PUBSUB}#retrieve-items": ("get", pubsub("<items node='urn:a'><item id='1'/></items>")),
    f"{PUBSUB}#last-published": ("get", pubsub("<items node='urn:a' max_items='1'/>")),
    f"{PUBSUB}#retract-items": ("set", pubsub("<retract node='urn:a'><item id='1'/></retract>")),
    f"{PUBSUB}#create-nodes": ("set", pubsub("<create node='urn:b'/>")),
    f"{PUBSUB}#create-and-configure": (
        "set", pubsub(f"<create node='urn:c'/><configure>{FORM.format(f'{PUBSUB}#node_config', '')}</configure>"),
    ),
    f"{PUBSUB}#config-node": ("get", pubsub("<configure node='urn:b'/>", "#owner")),
    f"{PUBSUB}#delete-nodes": ("set", pubsub("<delete node='urn:b'/>", "#owner")),
    **{
        f"{PUBSUB}#access-{model}": (
            "set",
            pubsub(PUBLISH.format("").replace("urn:a'><item", f"urn:{model}'><item") + options("access_model", model)),
        )
        for model in ("open", "presence", "whitelist")
    },
    f"{PUBSUB}#config-node-max": (
        "set",
        pubsub(PUBLISH.format("").replace("urn:a'><item", "urn:max'><item") + options("max_items", "max")),
    ),
    MUC: None,
    f"{MUC}#stable_id": None,
    f"{MUC}#self-ping-optimization": None,
    "urn:xmpp:sid:0": None,
    "urn:xmpp:occupant-id:0": None,
    "urn:xmpp:message-moderate:1": None,
    "urn:xmpp:message-retract:1": None,
    f"{PUBSUB}#auto-subscribe": None,
    f"{PUBSUB}#filtered-notifications": None,
    **dict.fromkeys(
        ("muc_persistent", "muc_nonanonymous", "muc_unsecured", "muc_membersonly", "muc_open", "muc_moderated",
         "muc_unmoderated", "muc_public", "muc_hidden")
    ),
}  # fmt: skip
"""What tries a feature; None for those that are tried by what happens in a room, below."""


OF = {
    ("hs1", "vcard-temp"): "alice@hs1",
    ("hs1", "jabber:iq:roster"): "alice@hs1",
    ("hs1", "urn:xmpp:blocking"): "alice@hs1",
    ("hs1", "jabber:iq:private"): "alice@hs1",
    ("hs1", "urn:xmpp:mam:2"): "alice@hs1",
    ("hs1", "urn:xmpp:mam:2#extended"): "alice@hs1",
    ("rooms.hs1", "vcard-temp"): "tea@rooms.hs1",
}
"""Of whom the server tells that they have something, by the address that tells of it."""


async def asks(client: RawClient, to: str, kind: str, payload: str) -> Element:
    """Ask; return the answer."""
    said = await client.asks(payload, kind=kind, to=to)
    found = re.findall("<iq [^>]*id='asked'[^>]*(?:/>|>.*?</iq>)", said, re.DOTALL)
    return parse_frame(found[-1].replace("<iq ", "<iq xmlns='jabber:client' ", 1).encode(), AFTER_LOGIN)


async def told(client: RawClient, to: str) -> set[str]:
    """Return the features that an address tells of."""
    query = (await asks(client, to, "get", f"<query xmlns='{INFO}'/>")).find("query", INFO)
    assert query is not None, to
    return {feature.get("var") or "" for feature in query.find_all("feature")}


async def check(client: RawClient, to: str) -> set[str]:
    """Try everything that an address tells of; return what has to be tried otherwise."""
    others = set()
    features = await told(client, to)
    assert features <= PROBES.keys(), f"{to} tells of what is not tried here: {features - PROBES.keys()}"
    for feature in sorted(features, key=list(PROBES).index):
        probe = PROBES[feature]
        if probe is None:
            others.add(feature)
            continue
        target = OF.get((to, feature), to)
        answer = await asks(client, target, *probe)
        error = answer.find("error")
        if error is not None:
            assert not any(error.find(name, "urn:ietf:params:xml:ns:xmpp-stanzas") for name in MISSING), (to, feature)
            assert feature == "vcard-temp", (to, feature, answer)
    return others


async def test_all_that_the_services_tell_of_is_answered(world: World, alice: User) -> None:
    ok(await alice.post("/createRoom", {"room_alias_name": "tea", "preset": "public_chat", "name": "Tea"}))
    async with bound(world, "alice") as client:
        items = (await asks(client, "hs1", "get", f"<query xmlns='{ITEMS}'/>")).find("query", ITEMS)
        assert items is not None
        services = [item.get("jid") or "" for item in items.find_all("item")]
        assert set(services) == {"rooms.hs1", "upload.hs1", "mx.hs1"}
        assert await check(client, "hs1") == set()
        assert await check(client, "alice@hs1") <= {
            "urn:xmpp:sid:0", f"{PUBSUB}#auto-subscribe", f"{PUBSUB}#filtered-notifications",
        }  # fmt: skip
        for service in services:
            assert await check(client, service) <= {MUC}


async def test_all_that_a_room_tells_of_is_there(world: World, alice: User, bob: User) -> None:
    made = {"room_alias_name": "tea", "preset": "public_chat", "name": "Tea"}
    room_id = ok(await alice.post("/createRoom", made))["room_id"]
    room = "tea@rooms.hs1"
    async with bound(world, "alice") as client:
        await client.says(f"<presence/><presence to='{room}/alice'><x xmlns='{MUC}'/></presence>")
        said = await client.hears("<subject")
        assert "jid='alice@hs1'" in said, "muc_nonanonymous"
        assert "<occupant-id xmlns='urn:xmpp:occupant-id:0'" in said
        event_id = await said_in(client, room)
        await bob.joins(room_id)
        spoken = await bob.says(room_id)
        await client.hears(f"id='{re.escape(spoken)}'/></message>")
        retract = "<retract xmlns='urn:xmpp:message-retract:1'/>"
        moderate = f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{spoken}'>{retract}</moderate>"
        await client.says(f"<iq type='set' id='m' to='{room}'>{moderate}</iq>")
        await client.hears("<moderated xmlns='urn:xmpp:message-moderate:1'")
        retract = f"<retract xmlns='urn:xmpp:message-retract:1' id='{event_id}'/>"
        await client.says(f"<message type='groupchat' to='{room}' id='m2'>{retract}</message>")
        await client.hears("<retract xmlns='urn:xmpp:message-retract:1' id='[^']+'/>")
        ping = await asks(client, f"{room}/alice", "get", "<ping xmlns='urn:xmpp:ping'/>")
        assert ping.get("type") == "result", "self-ping"
        tried = {
            MUC, f"{MUC}#stable_id", f"{MUC}#self-ping-optimization", "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0",
            "urn:xmpp:message-moderate:1", "urn:xmpp:message-retract:1", "muc_persistent", "muc_nonanonymous",
            "muc_unsecured", "muc_open", "muc_unmoderated", "muc_hidden",
        }  # fmt: skip
        assert await check(client, room) == tried


async def said_in(client: RawClient, room: str) -> str:
    """Say something in a room; return the ID that the room has given it, and see that the client's own stays."""
    await client.says(f"<message type='groupchat' to='{room}' id='mine'><body>hello</body></message>")
    said = await client.hears(" id='mine'.*?</message>")
    found = re.search(f"<stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='([^']+)'", said)
    assert found is not None
    return found[1]


async def test_all_that_a_stream_offers_is_there(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        offered = re.findall("<stream:features>(.*?)</stream:features>", "".join(client.everything), re.DOTALL)[-1]
        features = {
            (one.name, one.namespace)
            for one in parse_frame(f"<a xmlns='jabber:client'>{offered}</a>".encode(), AFTER_LOGIN).elements()
        }
        probes = {
            ("bind", "urn:ietf:params:xml:ns:xmpp-bind"): None,
            ("session", "urn:ietf:params:xml:ns:xmpp-session"): (
                "<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
                "type='result'",
            ),
            ("ver", "urn:xmpp:features:rosterver"): (
                "<iq type='get' id='2'><query xmlns='jabber:iq:roster' ver=''/></iq>",
                " ver='[^']+'",
            ),
            ("sm", "urn:xmpp:sm:3"): ("<enable xmlns='urn:xmpp:sm:3'/>", "<enabled "),
            ("csi", "urn:xmpp:csi:0"): (
                "<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/><r xmlns='urn:xmpp:sm:3'/>",
                "<a ",
            ),
            ("c", CAPS): (f"<iq type='get' id='3' to='hs1'><query xmlns='{INFO}'/></iq>", "<feature "),
        }
        assert features == probes.keys()
        for probe in probes.values():
            if probe is not None:
                await client.says(probe[0])
                await client.hears(probe[1])
