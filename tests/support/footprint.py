"""What a server has stored, so that a test can say that a refused request has left nothing behind."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.schema.rooms import aliases, events, memberships, rooms, snapshots
from tests.support.world import World

Footprint = tuple[object, ...]


async def footprint(world: World) -> Footprint:
    """Return what there is of rooms: how many of each, all memberships, and what is listed."""

    def read(conn: Connection) -> Footprint:
        tables = [
            conn.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in (rooms, events, snapshots)
        ]
        standing = sa.select(memberships.c.room, memberships.c.user, memberships.c.membership, memberships.c.forgotten)
        listed = sa.select(rooms.c.nid).where(rooms.c.published.is_(True))
        addresses = sa.select(aliases.c.alias, aliases.c.room)
        lists = [sorted(map(tuple, conn.execute(query))) for query in (standing, listed, addresses)]
        return (*tables, *map(tuple, lists))

    return await world.app.services.db.read(read)
