"""Invites by e-mail address or phone number: https://spec.matrix.org/v1.19/client-server-api/#third-party-invites.

They need an identity server, and this homeserver trusts none, as it may.
"""

from typing import NoReturn

import msgspec

from homeserver.errors import ServerNotTrusted


class ThirdPartyInvite(msgspec.Struct):
    """Whom to invite, and the identity server to ask for them."""

    id_server: str
    medium: str
    address: str
    id_access_token: str = ""


def refuse(invite: ThirdPartyInvite) -> NoReturn:
    """Raise the answer to an invite by a third party."""
    raise ServerNotTrusted(f"id_server: the identity server {invite.id_server!r} is not trusted here")
