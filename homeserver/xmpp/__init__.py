"""The door for XMPP clients: one module an extension (XEP). These tables say what there is; nothing else is advertised.

A module of an extension exports `FEATURES` and `HANDLERS` (see `router`). What else it wants to be called for stands
here, in the order of the calls.
"""

from collections.abc import Mapping, Sequence

from federation.core.xmpp.element import Element
from homeserver.xmpp import ping
from homeserver.xmpp.accounts import Hook, OnNews
from homeserver.xmpp.connection import Nonza
from homeserver.xmpp.router import Extension

MODULES: Sequence[Extension] = (ping,)

BEGUN: Sequence[Hook] = ()
"""When a resource is bound, before the client knows."""

ENDED: Sequence[Hook] = ()
"""When a session has ended for good: not when only its connection broke and it can be resumed."""

NEWS: Sequence[OnNews] = ()
"""When something has changed for a user who has sessions here."""

NONZAS: Mapping[tuple[str, str], Nonza] = {}
"""What handles elements beside stanzas, by namespace and name."""

STREAM_FEATURES: Sequence[Element] = ()
"""What is offered to users who are logged in, besides binding a resource."""
