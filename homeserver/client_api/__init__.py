"""The door for Matrix clients; a module a section of the specification. `ROUTES` is its table of contents."""

from homeserver.client_api import login, register, versions

ROUTES = (
    versions.routes,
    register.routes,
    login.routes,
)
