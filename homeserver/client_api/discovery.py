"""What clients look up before they do anything else: well-known files, and what the server can do for a user.

Sources: https://spec.matrix.org/v1.19/client-server-api/#well-known-uris,
https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation
"""

from typing import Any

from federation.core.room_versions import ROOM_VERSIONS
from homeserver.config.schema import Support
from homeserver.errors import NotFound
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


@routes.get("/.well-known/matrix/client", auth=Auth.NONE)
async def client(call: Call) -> Json:
    """Say where clients reach the server."""
    return {"m.homeserver": {"base_url": call.services.config.base_url}}


@routes.get("/.well-known/matrix/support", auth=Auth.NONE)
async def support(call: Call) -> Json:
    """Say whom users can turn to."""
    options = call.services.config.support
    answer: dict[str, Any] = {}
    if contacts := _contacts(options):
        answer["contacts"] = contacts
    if options.page:
        answer["support_page"] = options.page
    if not answer:
        raise NotFound("Nobody to turn to is configured")
    return answer


@routes.get("/.well-known/matrix/policy_server", auth=Auth.NONE)
async def policy_server(call: Call) -> Json:
    """Say with which key this server recommends events, if it is a policy server."""
    return {"public_keys": call.services.policy_signing.public_keys}


@routes.get("/_matrix/client/v3/capabilities")
async def what_can_be_done(call: Call) -> Json:
    """Say what the user can do with this server."""
    available = {name: "stable" if version.stable else "unstable" for name, version in ROOM_VERSIONS.items()}
    versions = {"default": call.services.config.rooms.default_version, "available": available}
    capabilities: dict[str, Any] = {
        "m.change_password": {"enabled": True},
        "m.room_versions": versions,
        "m.set_displayname": {"enabled": True},
        "m.set_avatar_url": {"enabled": True},
        "m.3pid_changes": {"enabled": False},
        "m.get_login_token": {"enabled": True},
        "m.profile_fields": {"enabled": True},
        "m.forget_forced_upon_leave": {"enabled": False},
    }
    if call.who.admin:
        capabilities["m.account_moderation"] = {"lock": True, "suspend": True}
    return {"capabilities": capabilities}


def _contacts(options: Support) -> list[dict[str, str]]:
    people = (
        ("m.role.admin", options.admin_matrix_id, options.admin_email),
        ("m.role.security", options.security_matrix_id, options.security_email),
    )
    contacts = []
    for role, matrix_id, email_address in people:
        contact = {"matrix_id": matrix_id, "email_address": email_address}
        if given := {name: value for name, value in contact.items() if value}:
            contacts.append({"role": role, **given})
    return contacts
