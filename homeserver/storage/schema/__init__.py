"""The tables, by subject. Every table says in `info["pruned"]` what keeps it from growing for ever."""

from homeserver.storage.schema import accounts, delivery, media, rooms
from homeserver.storage.schema.columns import metadata

__all__ = ["accounts", "delivery", "media", "metadata", "rooms"]
