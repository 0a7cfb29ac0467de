"""What a message stanza of a client asks for. The other way is `translate`.

Pure: the messages that it names by ID, and the files that it names by URL, are found by who acts on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
MOST_REACTIONS = 20


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message, perhaps in the place of an earlier one, or as an answer to one."""

    content: dict[str, Any]
    body: str
    reply_to: str | None = None
    replaces: str | None = None
    url: str | None = None
    """The file that the message is."""


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


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Parts of a body that are there only for clients that do not understand the rest."""

    whole: bool = False
    parts: list[tuple[int, int]] = field(default_factory=list)


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
    url = oob.text_of("url") if oob is not None else None
    return Say(
        text_content(body), body, reply_to, _id_in(stanza, "replace", CORRECT),
        url.strip() if url is not None and url.strip() == body.strip() else None,
    )  # fmt: skip


def text_content(body: str) -> dict[str, Any]:
    """Return a text, with its styles, as the content of an `m.room.message`."""
    kind = "m.text"
    if body.startswith("/me "):
        # https://xmpp.org/extensions/xep-0245.html
        kind, body = "m.emote", body.removeprefix("/me ")
    content: dict[str, Any] = {"msgtype": kind, "body": body}
    html = to_html(body)
    if html is not None:
        content["format"], content["formatted_body"] = "org.matrix.custom.html", html
    return content


def edited(content: dict[str, Any], first: str) -> dict[str, Any]:
    """Return a content that takes the place of an earlier message's.

    Source: https://spec.matrix.org/v1.19/client-server-api/#event-replacements
    """
    outer = {**content, "body": f"* {content['body']}"}
    if "formatted_body" in content:
        outer["formatted_body"] = f"* {content['formatted_body']}"
    return {**outer, "m.new_content": content, "m.relates_to": {"rel_type": "m.replace", "event_id": first}}


def answering(content: dict[str, Any], event_id: str) -> dict[str, Any]:
    """Return a content that answers a message: https://spec.matrix.org/v1.19/client-server-api/#rich-replies."""
    return {**content, "m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def _id_in(stanza: Element, name: str, namespace: str) -> str | None:
    found = stanza.find(name, namespace)
    return found.get("id") or None if found is not None else None


def _ranges(stanza: Element, purpose: str) -> _Ranges:
    """Return the fallback for a purpose: https://xmpp.org/extensions/xep-0428.html."""
    for fallback in stanza.find_all("fallback", FALLBACK):
        if fallback.get("for") == purpose:
            bodies = list(fallback.find_all("body"))
            if not bodies or any(body.get("start") is None for body in bodies):
                return _Ranges(whole=not bodies)
            return _Ranges(parts=[_range(body) for body in bodies])
    return _Ranges()


def _range(body: Element) -> tuple[int, int]:
    try:
        start, end = int(body.get("start") or ""), int(body.get("end") or "")
    except ValueError:
        return 0, 0
    return (start, end) if 0 <= start <= end else (0, 0)


def _without(body: str, ranges: _Ranges) -> str:
    # Counted in Unicode code points: https://xmpp.org/extensions/xep-0426.html
    for start, end in sorted(ranges.parts, reverse=True):
        body = body[:start] + body[end:]
    return body.strip("\n") if ranges.parts else body
