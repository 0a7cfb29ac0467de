"""The user directory: https://spec.matrix.org/v1.19/client-server-api/#user-directory."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from homeserver.model.accounts import Requester
from homeserver.storage import profiles, user_directory
from homeserver.storage.database import Database

MOST_RESULTS = 50
MOST_WORDS = 8
LONGEST_TERM = 200


@dataclass(frozen=True, slots=True)
class UserDirectory:
    """Finds users by ID and display name."""

    db: Database

    async def search(self, who: Requester, term: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return the users that match a term, as clients get them, and whether there are more of them."""
        words = term[:LONGEST_TERM].casefold().split()[:MOST_WORDS]
        limit = min(max(limit, 0), MOST_RESULTS)
        if not words or limit == 0:
            return [], False

        def read(conn: Connection) -> tuple[list[dict[str, Any]], bool]:
            found = user_directory.search(conn, who.user, words, limit + 1)
            shown = found[:limit]
            names = profiles.names_of(conn, [one.user for one in shown if one.is_local])
            results = []
            for one in shown:
                display_name, avatar_url = names.get(one.user, (one.display_name, one.avatar_url))
                result = {"user_id": one.user_id, "display_name": display_name, "avatar_url": avatar_url}
                results.append({name: value for name, value in result.items() if value is not None})
            return results, len(found) > limit

        return await self.db.read(read)
