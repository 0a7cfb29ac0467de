"""What is known here of how people look and are called, without asking their servers."""

from collections.abc import Iterable

from sqlalchemy import Connection

from federation.core.ids import UserID, server_of
from homeserver.model.profiles import PublicNames
from homeserver.storage import memberships, profiles
from homeserver.xmpp.session import Session


async def faces(session: Session, user_ids: Iterable[UserID]) -> dict[UserID, PublicNames]:
    """Return name and picture of those of some users who are known here: by profile, or by what a shared room says."""
    services, wanted = session.services, set(user_ids)
    own = session.addresses.server_name

    def read(conn: Connection) -> dict[UserID, PublicNames]:
        nids = services.history.names.user_nids(conn, wanted)
        near = [nid for user_id, nid in nids.items() if server_of(user_id) == own]
        far = [nid for user_id, nid in nids.items() if server_of(user_id) != own]
        found = profiles.names_of(conn, near)
        if far:
            found |= memberships.names_near(conn, session.who.user, far)
        return {user_id: found[nid] for user_id, nid in nids.items() if nid in found}

    return await services.db.read(read)
