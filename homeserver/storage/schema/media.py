"""Tables of media. The bytes lie on disk, addressed by their SHA-256."""

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text

from homeserver.storage.schema.columns import Bytes, Key, Number, metadata, reference

media = Table(
    "media",
    metadata,
    Column("origin", Key, primary_key=True),
    Column("media_id", Key, primary_key=True),
    reference("uploader", "users.nid", nullable=True, ondelete=None),
    Column("content_type", Text),
    Column("upload_name", Text),
    Column("size", Number),
    # NULL until the content is there (asynchronous uploads).
    Column("sha256", Bytes, index=True),
    Column("created_at", Number, nullable=False),
    Column("expires_at", Number),
    Index(None, "uploader", "created_at"),
    info={
        "pruned": "never-filled uploads and unused media of other servers when expired; else by the operator",
        "pruner": "media.remove_unfilled",
    },
)

thumbnails = Table(
    "thumbnails",
    metadata,
    # Of the content, not of the upload: equal files share thumbnails.
    Column("source_sha256", Bytes, primary_key=True),
    Column("width", Integer, primary_key=True, autoincrement=False),
    Column("height", Integer, primary_key=True, autoincrement=False),
    Column("method", Key, primary_key=True),
    Column("animated", Boolean, primary_key=True),
    Column("content_type", Text, nullable=False),
    Column("size", Number, nullable=False),
    Column("sha256", Bytes, nullable=False, index=True),
    info={"pruned": "with the last media of that content", "pruner": "media.remove_stray_thumbnails"},
)
