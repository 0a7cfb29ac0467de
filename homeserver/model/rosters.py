"""Rosters: the contacts that XMPP clients show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RosterItem:
    """A contact: https://www.rfc-editor.org/rfc/rfc6121#section-2.1.2."""

    jid: str
    name: str | None
    subscription: str
    """Who sees whose presence: none, to, from or both; `remove` for one that the user does not want to see."""
    ask: str | None
    groups: tuple[str, ...]
