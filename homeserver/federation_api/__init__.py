"""The door for Matrix servers; a module a section of the specification. `ROUTES` is its table of contents."""

from homeserver.federation_api import backfill, events, keys, versions

ROUTES = (
    versions.routes,
    keys.routes,
    backfill.routes,
    events.routes,
)
"""Served where `federation.enabled` is true."""
