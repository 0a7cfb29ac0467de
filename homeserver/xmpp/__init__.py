"""The door for XMPP clients: one module an extension (XEP). These tables say what there is; nothing else is advertised.

A module of an extension exports `FEATURES` and `HANDLERS` (see `router`). What else it wants to be called for stands
here, in the order of the calls.
"""

from collections.abc import Mapping, Sequence

from federation.core.xmpp.element import Element
from homeserver.xmpp import (
    archive,
    avatars,
    blocking,
    bookmarks,
    carbons,
    csi,
    deliveries,
    disco,
    displayed,
    establishing,
    messages,
    muc,
    muc_admin,
    muc_config,
    muc_disco,
    muc_register,
    muc_search,
    muc_vcard,
    passwords,
    ping,
    presence,
    private,
    pubsub,
    relays,
    resumption,
    roster,
    software,
    subscriptions,
    uploads,
    vcard,
)
from homeserver.xmpp.accounts import Hook, OnNews
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.connection import Nonza
from homeserver.xmpp.router import Extension, Guard, Identity

MODULES: Sequence[Extension] = (
    establishing,
    disco,
    ping,
    software,
    roster,
    presence,
    subscriptions,
    blocking,
    carbons,
    private,
    vcard,
    passwords,
    relays,
    messages,
    muc,
    muc_admin,
    muc_config,
    muc_disco,
    muc_register,
    muc_search,
    muc_vcard,
    archive,
    uploads,
    pubsub,
)

IDENTITIES: Mapping[Place, Sequence[Identity]] = {
    Place.SERVER: (Identity("server", "im", software.NAME),),
    Place.ACCOUNT: (Identity("account", "registered"), Identity("pubsub", "pep")),
    Place.USER: (Identity("account", "registered"), Identity("pubsub", "pep")),
    Place.ROOMS: (Identity("conference", "text", "Rooms"),),
    Place.UPLOADS: (Identity("store", "file", "File uploads"),),
    Place.GATEWAY: (Identity("gateway", "matrix", "Users of other Matrix servers"),),
}
"""What each place is; a place without is not told of."""

GUARDS: Sequence[Guard] = (blocking.guard, presence.guard)
"""What looks at each stanza before it is handled."""

BEGUN: Sequence[Hook] = (blocking.begun, deliveries.begun)
"""When a resource is bound, before the client knows."""

ENDED: Sequence[Hook] = (presence.ended, resumption.ended, deliveries.ended, blocking.ended)
"""When a session has ended for good: not when only its connection broke and it can be resumed."""

NEWS: Sequence[OnNews] = (
    subscriptions.news,
    presence.news,
    blocking.news,
    deliveries.news,
    bookmarks.news,
    avatars.news,
    displayed.news,
)
"""When something has changed for a user who has sessions here."""

AVAILABILITY: Sequence[Hook] = (deliveries.availability,)
"""When a session has become available, or is no longer: `session.available` says which."""

PRESENCE: Sequence[Hook] = (pubsub.presence,)
"""When an available session has told presence, the first time and later: it may have learned something meanwhile."""

NONZAS: Mapping[tuple[str, str], Nonza] = {**resumption.NONZAS, **csi.NONZAS}
"""What handles elements beside stanzas, by namespace and name."""

URGENT = resumption.URGENT
"""What of that does not wait for what came before it."""

STREAM_FEATURES: Sequence[Element] = (
    establishing.STREAM_FEATURE,
    roster.STREAM_FEATURE,
    resumption.STREAM_FEATURE,
    csi.STREAM_FEATURE,
)
"""What is offered to users who are logged in, besides binding a resource."""
