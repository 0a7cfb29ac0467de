"""The hash of the sender's picture in presence: https://xmpp.org/extensions/xep-0153.html.

Clients need not know their user's picture: the server says it for them, in whatever presence of theirs it passes on
(https://xmpp.org/extensions/xep-0398.html#presence). A client that says that it shows none is left alone.
"""

from dataclasses import dataclass

from federation.core.xmpp.element import Element
from homeserver.errors import MatrixError
from homeserver.model.profiles import AVATAR_URL
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.session import Session

UPDATE = "vcard-temp:x:update"


@dataclass(slots=True)
class Own:
    """What is shown of the user beside the presence of one session."""

    said: Element | None = None
    """The presence as the client has sent it."""
    picture: Picture | None = None


def update(picture: Picture | None) -> Element:
    """Return what stands in presence for a picture, or for its absence."""
    return Element("x", UPDATE, None, Element("photo", UPDATE, None, *([picture.sha1] if picture is not None else [])))


def with_photo(presence: Element, picture: Picture | None) -> Element:
    """Return presence of a client that says the right picture, unless the client wants to show none."""
    said = presence.find("x", UPDATE)
    photo = said.find("photo") if said is not None else None
    if photo is not None and not photo.text.strip():
        return presence
    return presence.with_children([child for child in presence.children if child is not said] + [update(picture)])


async def dressed(session: Session, presence: Element) -> Element:
    """Return available presence of a session as others get it."""
    own = session.kept(Own)
    own.said, own.picture = presence, await _current(session)
    return with_photo(presence, own.picture)


async def dressed_again(session: Session) -> Element | None:
    """Return the presence of a session with a picture that is another one now; None if it is the same."""
    own = session.kept(Own)
    before, own.picture = own.picture, await _current(session)
    if own.said is None or own.picture == before:
        return None
    return with_photo(own.said, own.picture)


def directed(session: Session, presence: Element) -> Element:
    """Return presence that a session sends to somebody alone as they get it."""
    return with_photo(presence, session.kept(Own).picture) if presence.get("type") is None else presence


async def _current(session: Session) -> Picture | None:
    try:
        profile = await session.services.profiles.local(session.who.user_id)
    except MatrixError:
        return None
    return await session.accounts.kept(Pictures).soon(profile.get(AVATAR_URL))
