"""Events and stanzas, both ways, as tables."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.xmpp import reading, translate
from homeserver.xmpp.reading import Displayed, React, Received, Retract, Say, Types
from homeserver.xmpp.translate import Reference, Shown


def link(mxc: str, name: str | None) -> str | None:
    """Stand for the media store."""
    return f"https://hs/{mxc.removeprefix('mxc://')}/{name}" if mxc.startswith("mxc://") else None


FIRST = Reference("$first", "x1", "room@rooms.hs/Bob", "what?\nreally?")


def xml(kind: str, content: dict[str, Any], *, room: bool = True, **shown: Any) -> str | None:
    """Return the payload of an event as XML."""
    parts = translate.payload(kind, content, Shown(link, room, **shown))
    return None if parts is None else "".join(serialise(part) for part in parts)


MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("m.room.message", {"msgtype": "m.text", "body": "hi"}, f"<body>hi</body>{MARKABLE}"),
        ("m.room.message", {"msgtype": "m.notice", "body": "1 < 2"}, f"<body>1 &lt; 2</body>{MARKABLE}"),
        ("m.room.message", {"msgtype": "m.emote", "body": "waves"}, f"<body>/me waves</body>{MARKABLE}"),
        (
            "m.room.message",
            {"msgtype": "m.text", "body": "**b**", "format": "org.matrix.custom.html", "formatted_body": "<b>b</b>"},
            f"<body>*b*</body>{MARKABLE}",
        ),
        (
            "m.room.message",
            {"msgtype": "m.image", "body": "cat.png", "url": "mxc://hs/a"},
            "<body>https://hs/hs/a/cat.png</body><x xmlns='jabber:x:oob'><url>https://hs/hs/a/cat.png</url></x>"
            + MARKABLE,
        ),
        ("m.room.message", {"msgtype": "m.image", "body": "cat.png", "file": {}}, f"<body>cat.png</body>{MARKABLE}"),
        (
            "m.room.message",
            {"msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2"},
            f"<body>geo:1,2</body>{MARKABLE}",
        ),
        ("m.room.message", {}, None),
        ("m.room.message", {"body": 3}, None),
        ("m.room.topic", {"topic": "x"}, None),
        ("m.poll.start", {"m.text": [{"body": "Tea?"}]}, f"<body>Tea?</body>{MARKABLE}"),
        (
            "m.room.encrypted",
            {"algorithm": "m.megolm.v1.aes-sha2"},
            "<encryption xmlns='urn:xmpp:eme:0' namespace='m.megolm.v1.aes-sha2' name='Matrix'/>"
            f"<body>{translate.MEGOLM_NOTICE}</body>",
        ),
    ],
)
def test_an_event_is_shown_as_a_stanza(kind: str, content: dict[str, Any], expected: str | None) -> None:
    assert xml(kind, content) == expected


def test_an_edit_names_the_first_stanza() -> None:
    content = {
        "msgtype": "m.text", "body": "* new", "m.new_content": {"msgtype": "m.text", "body": "new"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$first"},
    }  # fmt: skip
    replace = "<replace xmlns='urn:xmpp:message-correct:0' id='x1'/>"
    assert xml("m.room.message", content, referred=FIRST) == f"<body>new</body>{MARKABLE}{replace}"


@pytest.mark.parametrize(("room", "known_as"), [(True, "$first"), (False, "x1")])
def test_a_reply_quotes_for_clients_that_know_no_replies(room: bool, known_as: str) -> None:
    content = {
        "msgtype": "m.text", "body": "> <@bob:hs> what?\n\nyes",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$first"}},
    }  # fmt: skip
    assert xml("m.room.message", content, room=room, referred=FIRST) == (
        "<body>&gt; what?\n&gt; really?\nyes</body><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'>"
        f"<body start='0' end='18'/></fallback>{MARKABLE}"
        f"<reply xmlns='urn:xmpp:reply:0' to='room@rooms.hs/Bob' id='{known_as}'/>"
    )


def test_reactions_are_told_as_a_set() -> None:
    shown = xml("m.reaction", {}, referred=FIRST, reactions=("👍", "🎉", "👍"))
    assert shown is not None
    assert shown.startswith(
        "<reactions xmlns='urn:xmpp:reactions:0' id='$first'><reaction>👍</reaction><reaction>🎉</reaction></reactions>"
    )


def test_a_moderator_s_retraction_says_who_and_why() -> None:
    parts = translate.retraction(Shown(link, True, FIRST), "rude", "room@rooms.hs/Mod")
    assert parts is not None
    assert serialise(parts[0]) == (
        "<retract xmlns='urn:xmpp:message-retract:1' id='$first'><moderated xmlns='urn:xmpp:message-moderate:1'"
        " by='room@rooms.hs/Mod'/><reason>rude</reason></retract>"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMED = st.sampled_from(
    ["body", "msgtype", "format", "formatted_body", "url", "filename", "m.relates_to", "m.new_content", "geo_uri",
     "m.text", "algorithm", "m.poll", translate.OPAQUE]
)  # fmt: skip
VALUES = JSON | st.sampled_from(
    ["m.text", "m.emote", "m.image", "m.location", "org.matrix.custom.html", "mxc://a/b", "<b>x</b>", "geo:1",
     "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", "<encrypted", {"rel_type": "m.replace"}, {"body": "x"},
     {"question": {"m.text": "?"}, "answers": [{"m.text": [{"body": "yes"}]}, {"m.text": 3}, 4]}, {"question": []}]
)  # fmt: skip


@given(
    st.sampled_from(["m.room.message", "m.sticker", "m.reaction", "m.room.encrypted", "m.poll.start", "other"]),
    st.dictionaries(NAMED | st.text(), VALUES),
    st.booleans(),
    st.lists(st.text(), max_size=3),
)
def test_any_content_gives_a_well_formed_stanza(
    kind: str, content: dict[str, Any], room: bool, keys: list[str]
) -> None:
    for referred in (None, FIRST):
        parts = translate.payload(kind, content, Shown(link, room, referred, keys))
        stanza = Element("message", "jabber:client", {"id": "x"}, *(parts or ()))
        again = parse_frame(f"<wrap xmlns='jabber:client'>{serialise(stanza)}</wrap>".encode(), AFTER_LOGIN)
        assert [child.name for child in next(again.elements()).elements()] == [part.name for part in parts or ()]


def stanza(inner: str) -> Element:
    """Return a message stanza."""
    return parse_frame(f"<message xmlns='jabber:client'>{inner}</message>".encode(), AFTER_LOGIN)


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("", []),
        ("<subject>x</subject>", []),
        ("<body>hi</body>", [Say({"msgtype": "m.text", "body": "hi"}, "hi")]),
        ("<body>/me waves</body>", [Say({"msgtype": "m.emote", "body": "waves"}, "/me waves")]),
        (
            "<body>*hi*</body>",
            [
                Say(
                    {
                        "msgtype": "m.text",
                        "body": "*hi*",
                        "format": "org.matrix.custom.html",
                        "formatted_body": "<strong>hi</strong>",
                    },
                    "*hi*",
                )
            ],
        ),
        (
            "<body>new</body><replace xmlns='urn:xmpp:message-correct:0' id='x1'/>",
            [Say({"msgtype": "m.text", "body": "new"}, "new", replaces="x1")],
        ),
        (
            "<body>&gt; what?\nyes</body><reply xmlns='urn:xmpp:reply:0' id='$first'/>"
            "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='8'/></fallback>",
            [Say({"msgtype": "m.text", "body": "yes"}, "yes", reply_to="$first", quoting="> what?\nyes")],
        ),
        (
            "<body>https://a/b</body><x xmlns='jabber:x:oob'><url>https://a/b</url></x>",
            [Say({"msgtype": "m.text", "body": "https://a/b"}, "https://a/b", url="https://a/b")],
        ),
        (
            "<reactions xmlns='urn:xmpp:reactions:0' id='x1'><reaction>👍</reaction><reaction> </reaction></reactions>",
            [React("x1", ("👍",))],
        ),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='x1'/>", [React("x1", ())]),
        ("<retract xmlns='urn:xmpp:message-retract:1' id='x1'/><body>fallback</body>", [Retract("x1")]),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='x1'/>", [Displayed("x1")]),
        ("<received xmlns='urn:xmpp:receipts' id='x1'/>", [Received("x1")]),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", [Types(True)]),
        ("<paused xmlns='http://jabber.org/protocol/chatstates'/>", [Types(False)]),
        (
            "<body>hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>",
            [Say({"msgtype": "m.text", "body": "hi"}, "hi"), Types(False)],
        ),
    ],
)
def test_a_stanza_asks_for_this(inner: str, expected: list[reading.Act]) -> None:
    assert list(reading.acts(stanza(inner))) == expected


def test_what_xmpp_clients_encrypt_for_each_other_passes_unchanged() -> None:
    encrypted = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>abc</payload></encrypted>"
    [said] = reading.acts(stanza(f"{encrypted}<body>fallback</body>"))
    assert isinstance(said, Say)
    parts = translate.payload("m.room.message", said.content, Shown(link, True))
    assert parts is not None
    assert parts[0] == stanza(encrypted).find("encrypted", translate.OMEMO)
