"""What clients want to hear of: https://xmpp.org/extensions/xep-0115.html, and `+notify` of
https://xmpp.org/extensions/xep-0163.html#notify-filter.

A client says by a hash what it can do; whoever says it first is asked what that means. The answer is believed for this
one session only unless the hash fits, and hashes are remembered for all.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from federation.core.xmpp.element import Element
from homeserver.xmpp.disco import CAPS, INFO, caps_hash
from homeserver.xmpp.session import Session

MOST_REMEMBERED = 1000
MOST_NODES = 100
"""Nodes that a client may want to hear of; with their names' length, what somebody may let us remember."""
LONGEST = 256
NOTIFY = "+notify"


@dataclass(slots=True)
class Interests:
    """The nodes that a session wants to hear of."""

    asked: str | None = None
    """The capabilities that it was asked about last."""
    nodes: frozenset[str] = frozenset()


class _Known:
    """The interests behind each hash."""

    def __init__(self, _accounts: object) -> None:
        self.by_hash: OrderedDict[str, frozenset[str]] = OrderedDict()


async def learn(session: Session) -> frozenset[str]:
    """Return what a session that is available wants to hear of and did not before, asking it if need be."""
    caps = session.presence.find("c", CAPS) if session.presence is not None else None
    version, node = (caps.get("ver"), caps.get("node")) if caps is not None else (None, None)
    interests = session.kept(Interests)
    if not version or not node or interests.asked == version:
        return frozenset()
    interests.asked = version
    known = session.accounts.kept(_Known).by_hash
    nodes = known.get(version)
    if nodes is None:
        try:
            answer = await session.ask(Element("query", INFO, {"node": f"{node}#{version}"}))
        except TimeoutError:
            return frozenset()
        query = answer.find("query", INFO)
        if query is None or interests.asked != version:
            # It does not say, or it has said something newer meanwhile.
            return frozenset()
        features = (feature.get("var") or "" for feature in query.find_all("feature"))
        wanted = (name.removesuffix(NOTIFY) for name in features if name.endswith(NOTIFY) and len(name) <= LONGEST)
        nodes = frozenset(islice(wanted, MOST_NODES))
        if caps_hash(query) == version:
            known[version] = nodes
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
    new = nodes - interests.nodes
    interests.nodes = nodes
    return new
