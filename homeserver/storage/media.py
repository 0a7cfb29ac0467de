"""Content URIs and thumbnails. What bytes they stand for is on disk: `homeserver.services.media.store`."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.model.media import OCTETS, Content, Media, MediaID, Shape
from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.media import media, thumbnails

_FIND = sa.select(media).where(
    media.c.origin == sa.bindparam("of_origin"), media.c.media_id == sa.bindparam("of_media_id")
)
_FIND_BOTH = (
    sa.select(
        media,
        thumbnails.c.sha256.label("thumbnail_sha256"),
        thumbnails.c.size.label("thumbnail_size"),
        thumbnails.c.content_type.label("thumbnail_type"),
    )
    .select_from(
        media.outerjoin(
            thumbnails,
            sa.and_(
                thumbnails.c.source_sha256 == media.c.sha256,
                thumbnails.c.width == sa.bindparam("of_width"),
                thumbnails.c.height == sa.bindparam("of_height"),
                thumbnails.c.method == sa.bindparam("of_method"),
                thumbnails.c.animated == sa.bindparam("of_animated"),
            ),
        )
    )
    .where(media.c.origin == sa.bindparam("of_origin"), media.c.media_id == sa.bindparam("of_media_id"))
)


def find(conn: Connection, origin: ServerName, media_id: MediaID) -> Media | None:
    """Return a content URI, filled or not, expired or not; None if nobody made it."""
    row = conn.execute(_FIND, {"of_origin": origin, "of_media_id": media_id}).one_or_none()
    return _media(row) if row is not None else None


def find_with_thumbnail(
    conn: Connection, origin: ServerName, media_id: MediaID, shape: Shape
) -> tuple[Media | None, Content | None]:
    """Return a content URI and the thumbnail of that shape, as far as they are there."""
    row = conn.execute(
        _FIND_BOTH,
        {
            "of_origin": origin, "of_media_id": media_id, "of_width": shape.width, "of_height": shape.height,
            "of_method": shape.method.value, "of_animated": shape.animated,
        },
    ).one_or_none()  # fmt: skip
    if row is None:
        return None, None
    thumbnail = None
    if row.thumbnail_sha256 is not None:
        thumbnail = Content(bytes(row.thumbnail_sha256), row.thumbnail_size, row.thumbnail_type)
    return _media(row), thumbnail


def add(tx: Write, new: Media) -> None:
    """Store a new content URI, filled or to be filled."""
    content = new.content
    tx.conn.execute(
        media.insert().values(
            origin=new.origin,
            media_id=new.media_id,
            uploader=new.uploader,
            content_type=content.content_type if content is not None else None,
            upload_name=new.name,
            size=content.size if content is not None else None,
            sha256=content.sha256 if content is not None else None,
            created_at=new.created_at,
            expires_at=new.expires_at,
        )
    )


def add_remote(tx: Write, new: Media) -> None:
    """Store a content URI of another server, in the place of what was kept under it before."""
    tx.conn.execute(media.delete().where(media.c.origin == new.origin, media.c.media_id == new.media_id))
    add(tx, new)


def use_remote(tx: Write, origin: ServerName, media_id: MediaID, expires_at: int) -> None:
    """Keep what was fetched from another server until a later time."""
    tx.conn.execute(
        media.update().where(media.c.origin == origin, media.c.media_id == media_id).values(expires_at=expires_at)
    )


def remove_unused_remote(tx: Write, now: int) -> int:
    """Forget what was fetched from other servers and nobody has asked for in time; return how much."""
    stale = media.delete().where(media.c.uploader.is_(None), media.c.sha256.is_not(None), media.c.expires_at < now)
    return tx.conn.execute(stale).rowcount


def fill(tx: Write, origin: ServerName, media_id: MediaID, content: Content, name: str | None) -> bool:
    """Give a content URI its content; return whether it was there and empty."""
    filled = tx.conn.execute(
        media.update()
        .where(media.c.origin == origin, media.c.media_id == media_id, media.c.sha256.is_(None))
        .values(
            content_type=content.content_type,
            upload_name=name,
            size=content.size,
            sha256=content.sha256,
            expires_at=None,
        )
    )
    return filled.rowcount == 1


def count_pending(conn: Connection, uploader: UserNid, now: int, made_after: int) -> int:
    """Return how many content URIs of a user wait for their upload, among those made since `made_after`."""
    query = sa.select(sa.func.count()).where(
        media.c.uploader == uploader,
        media.c.created_at >= made_after,
        media.c.sha256.is_(None),
        media.c.expires_at > now,
    )
    return int(conn.execute(query).scalar_one())


def add_thumbnail(tx: Write, source_sha256: bytes, shape: Shape, content: Content) -> None:
    """Store which file is the thumbnail of a content, in the place of an earlier one."""
    insert = upsert(tx.conn, thumbnails).values(
        source_sha256=source_sha256, width=shape.width, height=shape.height, method=shape.method.value,
        animated=shape.animated, content_type=content.content_type, size=content.size, sha256=content.sha256,
    )  # fmt: skip
    new = insert.excluded
    tx.conn.execute(
        insert.on_conflict_do_update(
            index_elements=list(thumbnails.primary_key),
            set_={"content_type": new.content_type, "size": new.size, "sha256": new.sha256},
        )
    )


def referenced(conn: Connection, hashes: Iterable[bytes]) -> set[bytes]:
    """Return those of `hashes` that a content URI or a thumbnail stands for."""
    wanted = list(hashes)
    query = sa.union(
        sa.select(media.c.sha256).where(media.c.sha256.in_(wanted)),
        sa.select(thumbnails.c.sha256).where(thumbnails.c.sha256.in_(wanted)),
    )
    return {bytes(row[0]) for row in conn.execute(query)}


def remove_unfilled(tx: Write, expired_before: int) -> int:
    """Remove content URIs that were never filled and expired before that time; return how many."""
    removed = tx.conn.execute(media.delete().where(media.c.sha256.is_(None), media.c.expires_at < expired_before))
    return removed.rowcount


def remove_stray_thumbnails(tx: Write) -> int:
    """Remove the thumbnails of contents that no content URI stands for any more; return how many."""
    kept = sa.exists().where(media.c.sha256 == thumbnails.c.source_sha256)
    return tx.conn.execute(thumbnails.delete().where(~kept)).rowcount


def _media(row: sa.Row[Any]) -> Media:
    content = None
    if row.sha256 is not None:
        content = Content(bytes(row.sha256), row.size, row.content_type or OCTETS)
    return Media(row.origin, row.media_id, row.uploader, row.upload_name, content, row.created_at, row.expires_at)
