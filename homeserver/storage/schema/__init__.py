"""The tables, by subject. Every table says in `info["pruned"]` what keeps it from growing for ever.

Where that is time, `info["pruner"]` names the function of `homeserver.storage` that deletes from it.
"""

from homeserver.storage.schema import accounts, chats, delivery, encryption, media, pep, receiving, rooms, servers, xmpp
from homeserver.storage.schema.columns import metadata

__all__ = [
    "accounts",
    "chats",
    "delivery",
    "encryption",
    "media",
    "metadata",
    "pep",
    "receiving",
    "rooms",
    "servers",
    "xmpp",
]
