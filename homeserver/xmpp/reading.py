"""What a message stanza of a client asks for. The other way is `translate`.

Pure: the messages that it names by ID, and the files that it names by URL, are found by who acts on it.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from federation.core.xmpp.element import Element, serialise
from homeserver.xmpp.styling import to_html
from homeserver.xmpp.translate import (
    CORRECT,
    FALLBACK,
    MARKERS,
    OMEMO,
    OMEMO_NOTICE,
    OOB,
    OPAQUE,
    REACTIONS,
    REPLY,
    RETRACT,
)

CHAT_STATES = "http://jabber.org/protocol/chatstates"
RECEIPTS = "urn:xmpp:receipts"
REFERENCE = "urn:xmpp:reference:0"
MENTIONS = "urn:xmpp:mentions:0"
MOST_REACTIONS = 20
MOST_MENTIONS = 50
_geo = re.compile(
    r"geo:-?[0-9]{1,3}(?:\.[0-9]{1,20})?(?:,-?[0-9]{1,7}(?:\.[0-9]{1,20})?){1,2}(?:;[!-~]{1,200})?"
).fullmatch


@dataclass(frozen=True, slots=True)
class Mentions:
    """Whom a message names, beside those whom it addresses at its beginning."""

    jids: tuple[str, ...] = ()
    occupants: tuple[str, ...] = ()
    """By what the room knows them."""
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message, perhaps in the place of an earlier one, or as an answer to one."""

    content: dict[str, Any]
    body: str
    reply_to: str | None = None
    replaces: str | None = None
    url: str | None = None
    """The file that the message is."""
    quoting: str | None = None
    """The body with what it quotes, if that was taken out because the message says what it answers."""
    thread: str | None = None
    mentions: Mentions = Mentions()


@dataclass(frozen=True, slots=True)
class React:
    """Have said these, and nothing else, to a message."""

    target: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retract:
    """Take a message back."""

    target: str


@dataclass(frozen=True, slots=True)
class Displayed:
    """Have read up to a message."""

    target: str


@dataclass(frozen=True, slots=True)
class Received:
    """Have got a message; nobody needs to know but its sender's client."""

    target: str


@dataclass(frozen=True, slots=True)
class Types:
    """Type, or no longer."""

    typing: bool


Act = Say | React | Retract | Displayed | Received | Types


def acts(stanza: Element) -> Iterator[Act]:
    """Yield what a message asks for; nothing if nothing of it is understood."""
    reactions = stanza.find("reactions", REACTIONS)
    retract = stanza.find("retract", RETRACT)
    if reactions is not None and reactions.get("id"):
        keys = [each.text.strip() for each in reactions.find_all("reaction")]
        yield React(reactions.attributes["id"], tuple(dict.fromkeys(key for key in keys if key))[:MOST_REACTIONS])
    elif retract is not None and retract.get("id"):
        yield Retract(retract.attributes["id"])
    else:
        said = _said(stanza)
        if said is not None:
            yield said
    displayed, received = stanza.find("displayed", MARKERS), stanza.find("received", RECEIPTS)
    if displayed is not None and displayed.get("id"):
        yield Displayed(displayed.attributes["id"])
    if received is not None and received.get("id"):
        yield Received(received.attributes["id"])
    states = {child.name for child in stanza.elements() if child.namespace == CHAT_STATES}
    if states:
        yield Types("composing" in states)


def _said(stanza: Element) -> Say | None:
    opaque = stanza.find("encrypted", OMEMO) or stanza.find("encrypted", "urn:xmpp:omemo:2")
    if opaque is not None:
        content = {"msgtype": "m.notice", "body": OMEMO_NOTICE, OPAQUE: serialise(opaque, "")}
        return Say(content, OMEMO_NOTICE, replaces=_id_in(stanza, "replace", CORRECT))
    whole = stanza.text_of("body")
    if whole is None:
        return None
    reply_to = _id_in(stanza, "reply", REPLY)
    body = _without(whole, _ranges(stanza, REPLY)) if reply_to is not None else whole
    if not body:
        return None
    oob = stanza.find("x", OOB)
    url = (oob.text_of("url") or "").strip() if oob is not None else body.strip()
    return Say(
        text_content(body), body, reply_to, _id_in(stanza, "replace", CORRECT),
        url if url == body.strip() and url.startswith(("https://", "http://")) else None,
        whole if whole != body else None, stanza.text_of("thread") or None, _mentions(stanza),
    )  # fmt: skip


def _mentions(stanza: Element) -> Mentions:
    """Return whom a message names.

    Source: https://xmpp.org/extensions/xep-0372.html, https://xmpp.org/extensions/xep-0513.html
    """
    uris = [each.get("uri") or "" for each in stanza.find_all("reference", REFERENCE) if each.get("type") == "mention"]
    jids = [uri.removeprefix("xmpp:").partition("?")[0] for uri in uris if uri.startswith("xmpp:")]
    named = [each for each in stanza.find_all("mention", MENTIONS) if each.find("noping") is None]
    jids += [each.attributes["jid"] for each in named if each.get("jid")]
    occupants = [each.attributes["occupantid"] for each in named if each.get("occupantid")]
    everybody = any(each.get("mentions") == f"{MENTIONS}#channel" and not each.get("uri") for each in named)
    return Mentions(tuple(jids[:MOST_MENTIONS]), tuple(occupants[:MOST_MENTIONS]), everybody)


def text_content(body: str) -> dict[str, Any]:
    """Return a text, with its styles, as the content of an `m.room.message`."""
    kind = "m.text"
    if body.startswith("/me "):
        # https://xmpp.org/extensions/xep-0245.html
        kind, body = "m.emote", body.removeprefix("/me ")
    elif _geo(body) is not None:
        # Clients say where they are by a URI and nothing else: https://www.rfc-editor.org/rfc/rfc5870
        return {"msgtype": "m.location", "body": body, "geo_uri": body}
    content: dict[str, Any] = {"msgtype": kind, "body": body}
    html = to_html(body)
    if html is not None:
        content["format"], content["formatted_body"] = "org.matrix.custom.html", html
    return content


def edited(content: dict[str, Any], first: str, before: Collection[str]) -> dict[str, Any]:
    """Return a content that takes the place of an earlier message's, which mentioned these users.

    Source: https://spec.matrix.org/v1.19/client-server-api/#event-replacements
    """
    outer = {**content, "body": f"* {content['body']}"}
    if "formatted_body" in content:
        outer["formatted_body"] = f"* {content['formatted_body']}"
    if "m.mentions" in content:
        # Only those are told of the edit whom it mentions first.
        new = [each for each in content["m.mentions"].get("user_ids", ()) if each not in before]
        outer["m.mentions"] = {"user_ids": new} if new else {}
    return {**outer, "m.new_content": content, "m.relates_to": {"rel_type": "m.replace", "event_id": first}}


def answering(content: dict[str, Any], event_id: str) -> dict[str, Any]:
    """Return a content that answers a message: https://spec.matrix.org/v1.19/client-server-api/#rich-replies."""
    return {**content, "m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def threaded(content: dict[str, Any], root: str, answered: str | None) -> dict[str, Any]:
    """Return a content that is in a thread, and may answer a message there.

    Source: https://spec.matrix.org/v1.19/client-server-api/#threading
    """
    relation: dict[str, Any] = {
        "rel_type": "m.thread", "event_id": root, "m.in_reply_to": {"event_id": answered or root},
        "is_falling_back": answered is None,
    }  # fmt: skip
    return {**content, "m.relates_to": relation}


def _id_in(stanza: Element, name: str, namespace: str) -> str | None:
    found = stanza.find(name, namespace)
    return found.get("id") or None if found is not None else None


def _ranges(stanza: Element, purpose: str) -> list[tuple[int, int]]:
    """Return the parts of the body that stand there for a purpose only: https://xmpp.org/extensions/xep-0428.html.

    A body that is nothing else is left as it is: there would be nothing to say.
    """
    for fallback in stanza.find_all("fallback", FALLBACK):
        if fallback.get("for") == purpose:
            return [_range(body) for body in fallback.find_all("body") if body.get("start") is not None]
    return []


def _range(body: Element) -> tuple[int, int]:
    try:
        start, end = int(body.get("start") or ""), int(body.get("end") or "")
    except ValueError:
        return 0, 0
    return (start, end) if 0 <= start <= end else (0, 0)


def _without(body: str, ranges: list[tuple[int, int]]) -> str:
    # Counted in Unicode code points: https://xmpp.org/extensions/xep-0426.html
    for start, end in sorted(ranges, reverse=True):
        body = body[:start] + body[end:]
    return body.strip("\n") if ranges else body
