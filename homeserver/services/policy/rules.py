"""What this server refuses as a policy server, as its operator has said: by who sends it, and by what it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.events.pdu import Pdu
from homeserver.model import globs
from homeserver.services.policy.lists import PolicyList

TEXTS = frozenset({"body", "formatted_body", "name", "topic", "displayname", "reason", "key", "m.text"})
"""Members of a content, however deep, that are shown as text."""
ENCRYPTED = "m.room.encrypted"


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """Decides about events; what nothing speaks against is recommended."""

    senders: Sequence[str]
    """Globs of user IDs."""
    words: Sequence[str]
    """Globs of words or phrases."""
    list: PolicyList | None = None

    def refusal(self, conn: Connection, event: Pdu) -> str | None:
        """Return why an event is refused, in words for its sender; None if it is not."""
        if _only_leaves(event):
            # Nobody is kept in a room.
            return None
        sender = event.sender.lower()
        if any(globs.whole(pattern)(sender) for pattern in self.senders):
            return "The room's policy server refuses events of this sender"
        if self.list is not None and self.list.bans(conn, event.sender):
            return "The room's policy server follows a list by which this sender is banned"
        if self.words and event.type != ENCRYPTED:
            texts = [text.lower() for text in texts_of(event.content)]
            if any(globs.words(pattern)(text) for pattern in self.words for text in texts):
                return "The room's policy server refuses some of the words"
        return None


def texts_of(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a content is shown as text: also that of edits, and of texts in several forms."""
    waiting: list[tuple[str, Any]] = list(content.items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            if name in TEXTS:
                yield value
        elif isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, each) for each in value]


def _only_leaves(event: Pdu) -> bool:
    return (
        event.type == "m.room.member" and event.state_key == event.sender and event.content == {"membership": "leave"}
    )
