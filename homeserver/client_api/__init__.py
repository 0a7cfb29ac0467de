"""The door for Matrix clients; a module a section of the specification. `ROUTES` is its table of contents."""

from homeserver.client_api import versions

ROUTES = (versions.routes,)
