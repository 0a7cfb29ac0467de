"""How available somebody in a room is: by what their XMPP clients say, else by their presence in Matrix.

Whoever is in a room is an occupant, there or not, so those who are offline are shown as away for long.
"""

from collections.abc import Mapping
from typing import NamedTuple

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Element
from homeserver.model.nids import UserNid
from homeserver.model.presence import PresenceState
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.session import Session

_ORDER = ("chat", None, "dnd", "away", "xa")
"""Of what several clients of one priority say, the first counts."""
_OF_MATRIX: Mapping[PresenceState, str | None] = {
    PresenceState.ONLINE: None,
    PresenceState.UNAVAILABLE: "away",
    PresenceState.OFFLINE: "xa",
}


class Availability(NamedTuple):
    """What presence says beside that somebody is there: https://www.rfc-editor.org/rfc/rfc6121#section-4.7.2."""

    show: str | None = None
    status: str | None = None

    def elements(self) -> list[Element]:
        """Return it as children of presence."""
        return [
            Element(name, namespaces.CLIENT, None, text)
            for name, text in (("show", self.show), ("status", self.status))
            if text
        ]


UNKNOWN = Availability()
"""Where nothing is told of who is there."""


def availability(accounts: Accounts, user: UserNid) -> Availability:
    """Return how available a user is."""
    account = accounts.of_user(user)
    said = [_of_session(session) for session in (account.available() if account is not None else ())]
    if said:
        return min(said, key=lambda one: (-one[0], _ORDER.index(one[1].show)))[1]
    seen = accounts.services.presence.seen(user)
    if seen is None:
        return UNKNOWN
    state, status = seen
    return Availability(_OF_MATRIX[state], status if state is not PresenceState.OFFLINE else None)


def _of_session(session: Session) -> tuple[int, Availability]:
    presence = session.presence
    show = presence.text_of("show") if presence is not None else None
    status = presence.text_of("status") if presence is not None else None
    return session.priority, Availability(show if show in _ORDER else None, status or None)
