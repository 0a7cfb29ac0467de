"""Events as what a message stanza holds. The other way is `reading`.

Pure: what an event is about (the message that it edits, answers, reacts to) is looked up before and given as a
`Reference`. Whatever the content, what comes out is well-formed and bounded by the content's size.

* bodies, emotes, styles: https://xmpp.org/extensions/xep-0393.html, https://xmpp.org/extensions/xep-0245.html
* edits: https://xmpp.org/extensions/xep-0308.html, replies: https://xmpp.org/extensions/xep-0461.html
* reactions: https://xmpp.org/extensions/xep-0444.html, retraction: https://xmpp.org/extensions/xep-0424.html and
  https://xmpp.org/extensions/xep-0425.html
* files: https://xmpp.org/extensions/xep-0066.html, encryption: https://xmpp.org/extensions/xep-0380.html
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.core.errors import ProtocolError
from federation.core.xmpp.element import Element
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.xmpp.styling import from_html

CLIENT = "jabber:client"
CORRECT = "urn:xmpp:message-correct:0"
REPLY = "urn:xmpp:reply:0"
FALLBACK = "urn:xmpp:fallback:0"
REACTIONS = "urn:xmpp:reactions:0"
RETRACT = "urn:xmpp:message-retract:1"
MODERATE = "urn:xmpp:message-moderate:1"
OOB = "jabber:x:oob"
MARKERS = "urn:xmpp:chat-markers:0"
EME = "urn:xmpp:eme:0"
OMEMO = "eu.siacs.conversations.axolotl"
HINTS = "urn:xmpp:hints"

OPAQUE = "org.isthmus.xmpp.encrypted"
"""Where an event's content holds what XMPP clients encrypted for each other, as XML."""
OMEMO_NOTICE = "This message is encrypted with OMEMO. It can be read in an XMPP client."
MEGOLM_NOTICE = "This message is encrypted. It can be read in a Matrix client."
_OPAQUE_KINDS = frozenset((("encrypted", OMEMO), ("encrypted", "urn:xmpp:omemo:2"), ("encrypted", "urn:xmpp:omemo:1")))
_MEGOLM = "m.megolm.v1.aes-sha2"
_FILES = frozenset(("m.image", "m.file", "m.audio", "m.video"))
_POLLS = frozenset(("m.poll.start", "org.matrix.msc3381.poll.start"))
_MOST_ANSWERS = 20
_QUOTED = 300
"""Characters of a message that are quoted for clients that know no replies."""
LONGEST_KEY = 64
"""Characters of a reaction that is shown: longer ones are no emojis."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An event that another one is about, as XMPP clients know it."""

    event_id: str
    stanza_id: str
    """The `id` of the stanza that told of it."""
    author: str | None = None
    """The JID of its sender: in a room, the occupant's."""
    body: str | None = None
    sender: str | None = None
    """Its sender as Matrix knows them."""


Link = Callable[[str, str | None], str | None]
"""Returns the URL at which an XMPP client gets a `mxc:` URI, with a name for the file; None if it is not one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What must be known of an event's surroundings to show it."""

    link: Link
    in_room: bool
    """Whether it is shown in a MUC room, where the room's stanza IDs are what things are known by."""
    referred: Reference | None = None
    reactions: Sequence[str] = ()
    """All that the sender of a reaction (or of the removal of one) now has said to that message."""
    thread: str | None = None
    """The first event of the thread that it is in."""

    def id_of(self, reference: Reference) -> str:
        """Return by what others refer to a message."""
        return reference.event_id if self.in_room else reference.stanza_id


def payload(kind: str, content: Mapping[str, Any], shown: Shown) -> list[Element] | None:
    """Return what the stanza for an event holds, None for an event that is not shown as a message."""
    relation = content.get("m.relates_to")
    relation = relation if isinstance(relation, dict) else {}
    if kind == "m.reaction":
        return reactions(shown)
    is_edit = relation.get("rel_type") == "m.replace"
    if kind == "m.room.encrypted":
        # Nothing would be new about it but that nobody can read it here.
        return None if is_edit else _megolm(content)
    if kind == "m.sticker":
        return _about(_file(content, shown) or _text(_string(content, "body")), shown)
    if kind == "m.room.message":
        return _edit(content, shown) if is_edit else _message(content, shown)
    return _text(_fallback_text(kind, content))


def reactions(shown: Shown) -> list[Element] | None:
    """Return the reactions of someone to a message, all of them: https://xmpp.org/extensions/xep-0444.html."""
    if shown.referred is None:
        return None
    keys = [key for key in dict.fromkeys(shown.reactions) if _is_shown(key)]
    found = [Element("reaction", REACTIONS, None, key) for key in keys]
    return [
        Element("reactions", REACTIONS, {"id": shown.id_of(shown.referred)}, *found),
        Element("store", HINTS),
    ]


def retraction(shown: Shown, reason: str | None, moderator: str | None) -> list[Element] | None:
    """Return the retraction of a message, by its sender or by a moderator."""
    if shown.referred is None:
        return None
    retract = Element("retract", RETRACT, {"id": shown.id_of(shown.referred)})
    text = "A message was retracted, but your client does not support that."
    if moderator is not None:
        # https://xmpp.org/extensions/xep-0425.html: the room speaks, and says for whom.
        retract.add(Element("moderated", MODERATE, {"by": moderator}))
        if reason:
            retract.add(Element("reason", RETRACT, None, reason))
        return [retract]
    return [
        retract,
        Element("fallback", FALLBACK, {"for": RETRACT}),
        Element("body", CLIENT, None, text),
        Element("store", HINTS),
    ]


def tombstone(stamp: str, by: str | None, reason: str | None, moderator: str | None = None) -> list[Element]:
    """Return what the archive has in the place of a retracted message; `by` is the ID of what took it away."""
    retracted = Element("retracted", RETRACT, {"stamp": stamp, "id": by})
    if moderator is not None:
        retracted.add(Element("moderated", MODERATE, {"by": moderator}))
        if reason:
            retracted.add(Element("reason", RETRACT, None, reason))
    return [retracted]


def body_of(content: Mapping[str, Any]) -> str:
    """Return a message's text as XMPP clients show it, without what it quotes of another one."""
    body = _string(content, "body")
    html = content.get("formatted_body") if content.get("format") == "org.matrix.custom.html" else None
    styled = from_html(html) if isinstance(html, str) else None
    body = styled or _without_quote(body, content)
    if content.get("msgtype") == "m.emote":
        return f"/me {body}"
    return body


def _message(content: Mapping[str, Any], shown: Shown) -> list[Element] | None:
    opaque = _opaque(content)
    if opaque is not None:
        return opaque
    kind = _string(content, "msgtype")
    if kind in _FILES:
        found = _file(content, shown)
        if found is not None:
            return _about(found, shown)
    if kind == "m.location" and _string(content, "geo_uri").startswith("geo:"):
        return _about(_text(_string(content, "geo_uri")), shown)
    text = body_of(content)
    if not text:
        return None
    parts = _quoting(text, shown.referred) if shown.referred is not None else [Element("body", CLIENT, None, text)]
    return _about([*parts, Element("markable", MARKERS)], shown)


def _about(parts: list[Element] | None, shown: Shown) -> list[Element] | None:
    """Add to a message what it answers, and in which thread it is."""
    if parts is not None and shown.referred is not None:
        parts.append(Element("reply", REPLY, {"to": shown.referred.author, "id": shown.id_of(shown.referred)}))
    if parts is not None and shown.thread is not None:
        parts.append(Element("thread", CLIENT, None, shown.thread))
    return parts


def _edit(content: Mapping[str, Any], shown: Shown) -> list[Element] | None:
    new = content.get("m.new_content")
    if not isinstance(new, dict):
        return None
    parts = _message(new, Shown(shown.link, shown.in_room))
    if parts is None or shown.referred is None:
        return parts
    # It is the `id` of the first version, in rooms too.
    return [*parts, Element("replace", CORRECT, {"id": shown.referred.stanza_id})]


def _quoting(text: str, referred: Reference) -> list[Element]:
    """Return a body that quotes what it answers, for clients that know no replies, and which part of it that is."""
    if not referred.body:
        return [Element("body", CLIENT, None, text)]
    quoted = referred.body if len(referred.body) <= _QUOTED else referred.body[:_QUOTED] + "…"
    quote = "".join(f"> {line}\n" for line in quoted.split("\n"))
    fallback = Element("fallback", FALLBACK, {"for": REPLY})
    fallback.add(Element("body", FALLBACK, {"start": "0", "end": str(len(quote))}))
    return [Element("body", CLIENT, None, quote + text), fallback]


def _is_shown(key: str) -> bool:
    # Pictures as reactions are URIs of files: nothing that a client would show.
    return 0 < len(key) <= LONGEST_KEY and not key.startswith("mxc://")


def _file(content: Mapping[str, Any], shown: Shown) -> list[Element] | None:
    mxc = content.get("url")
    body, name = _string(content, "body"), _string(content, "filename")
    url = shown.link(mxc, name or body or None) if isinstance(mxc, str) else None
    if url is None:
        return None
    # A body that is the URL and nothing else is shown as the file.
    caption = body if name and body and body != name else None
    oob = Element("x", OOB, None, Element("url", OOB, None, url))
    if caption is not None:
        oob.add(Element("desc", OOB, None, caption))
    text = url if caption is None else f"{caption}\n{url}"
    return [Element("body", CLIENT, None, text), oob, Element("markable", MARKERS)]


def _megolm(content: Mapping[str, Any]) -> list[Element]:
    algorithm = content.get("algorithm")
    namespace = algorithm if isinstance(algorithm, str) and algorithm else _MEGOLM
    return [
        Element("encryption", EME, {"namespace": namespace, "name": "Matrix"}),
        Element("body", CLIENT, None, MEGOLM_NOTICE),
    ]


def _opaque(content: Mapping[str, Any]) -> list[Element] | None:
    """Return what XMPP clients encrypted for each other; nothing else can be put into a stanza this way."""
    text = content.get(OPAQUE)
    if not isinstance(text, str):
        return None
    try:
        element = parse_frame(text.encode(), AFTER_LOGIN)
    except (ProtocolError, UnicodeEncodeError):
        return None
    if (element.name, element.namespace) not in _OPAQUE_KINDS:
        return None
    return [
        element,
        Element("encryption", EME, {"namespace": element.namespace, "name": "OMEMO"}),
        Element("body", CLIENT, None, OMEMO_NOTICE),
        Element("store", HINTS),
    ]


def _text(text: str) -> list[Element] | None:
    return [Element("body", CLIENT, None, text), Element("markable", MARKERS)] if text else None


def _fallback_text(kind: str, content: Mapping[str, Any]) -> str:
    """Return what an event of another type says in words: https://spec.matrix.org/v1.19/client-server-api/#events."""
    if kind == "m.call.invite":
        return "/me calls. Calls can be taken in a Matrix client."
    text = _extensible(content)
    return text if text or kind not in _POLLS else _poll(content)


def _extensible(content: Mapping[str, Any]) -> str:
    """Return the plain text of a part of an extensible event: a text, or a list of them in several formats."""
    for name in ("m.text", "org.matrix.msc1767.text"):
        value = content.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return next((_string(each, "body") for each in value if isinstance(each, dict)), "")
    return ""


def _poll(content: Mapping[str, Any]) -> str:
    """Return a poll as its question and numbered answers: XMPP clients can read it, and answer in words."""
    poll = content.get("m.poll", content.get("org.matrix.msc3381.poll.start"))
    if not isinstance(poll, dict):
        return ""
    question, answers = poll.get("question"), poll.get("answers")
    lines = [_extensible(question)] if isinstance(question, dict) else []
    listed = answers[:_MOST_ANSWERS] if isinstance(answers, list) else []
    lines += [f"{n}. {_extensible(answer)}" for n, answer in enumerate(listed, 1) if isinstance(answer, dict)]
    return "\n".join(lines)


def _string(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _without_quote(body: str, content: Mapping[str, Any]) -> str:
    """Return a body without the quote that clients put before an answer until v1.13 of the specification."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict) or "m.in_reply_to" not in relation or not body.startswith(("> <@", "> * <@")):
        return body
    lines = body.split("\n")
    at = next((n for n, line in enumerate(lines) if not line.startswith(">")), len(lines))
    rest = "\n".join(lines[at:]).lstrip("\n")
    return rest or body
