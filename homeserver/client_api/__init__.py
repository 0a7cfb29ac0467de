"""The door for Matrix clients; a module a section of the specification. `ROUTES` is its table of contents."""

from homeserver.client_api import (
    account,
    admin,
    calls,
    devices,
    discovery,
    login,
    media,
    membership,
    push_rules,
    register,
    room_events,
    rooms,
    versions,
)

ROUTES = (
    versions.routes,
    discovery.routes,
    admin.routes,
    register.routes,
    login.routes,
    account.routes,
    devices.routes,
    rooms.routes,
    room_events.routes,
    membership.routes,
    media.routes,
    calls.routes,
    push_rules.routes,
)
