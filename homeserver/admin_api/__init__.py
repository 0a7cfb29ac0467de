"""The door for operators. Paths and bodies are those that existing tools for Matrix servers speak."""

from homeserver.admin_api import federation, health, register, registration_tokens

ROUTES = (
    health.routes,
    register.routes,
    registration_tokens.routes,
    federation.routes,
)
