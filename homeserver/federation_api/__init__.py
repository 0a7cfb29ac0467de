"""The door for Matrix servers; a module a section of the specification. `ROUTES` is its table of contents."""

from homeserver.federation_api import (
    backfill,
    devices,
    events,
    invites,
    joins,
    keys,
    knocks,
    leaves,
    media,
    openid,
    policy,
    public_rooms,
    queries,
    spaces,
    third_party_invites,
    transactions,
    versions,
)

ROUTES = (
    versions.routes,
    keys.routes,
    transactions.routes,
    backfill.routes,
    events.routes,
    joins.routes,
    knocks.routes,
    invites.routes,
    leaves.routes,
    third_party_invites.routes,
    public_rooms.routes,
    spaces.routes,
    queries.routes,
    openid.routes,
    devices.routes,
    media.routes,
    policy.routes,
)
"""Served where `federation.enabled` is true."""
