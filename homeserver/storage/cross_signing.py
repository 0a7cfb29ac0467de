"""Cross-signing keys and the signatures that users make with them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.encryption import Usage
from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.encryption import cross_signing_keys, key_signatures


@dataclass(frozen=True, slots=True)
class KeySignature:
    """A signature under a device or a cross-signing key."""

    signer: UserNid
    target: UserNid
    key_name: str
    """The device ID or the public key that is signed."""
    signing_key: str
    """The ID of the key that signed, such as `ed25519:…`."""
    signature: str


def of_users(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, dict[Usage, bytes]]:
    """Return the cross-signing keys of some users, as JSON, in one query."""
    found: dict[UserNid, dict[Usage, bytes]] = {}
    query = sa.select(cross_signing_keys).where(cross_signing_keys.c.user.in_(users))
    for row in conn.execute(query):
        found.setdefault(row.user, {})[Usage(row.usage)] = row.key
    return found


def store(tx: Write, user: UserNid, keys: Mapping[Usage, bytes]) -> None:
    """Store cross-signing keys of a user in the place of those of the same usage."""
    for usage, key in keys.items():
        insert = upsert(tx.conn, cross_signing_keys).values(user=user, usage=str(usage), key=key)
        tx.conn.execute(
            insert.on_conflict_do_update(index_elements=["user", "usage"], set_={"key": insert.excluded["key"]})
        )


def remove(tx: Write, user: UserNid) -> None:
    """Remove all cross-signing keys of a user."""
    tx.conn.execute(cross_signing_keys.delete().where(cross_signing_keys.c.user == user))


def signatures(conn: Connection, targets: Collection[UserNid], seen_by: UserNid | None) -> list[KeySignature]:
    """Return the signatures under keys of some users: their own, and those of `seen_by`."""
    query = sa.select(
        key_signatures.c.signer,
        key_signatures.c.target,
        key_signatures.c.key_name,
        key_signatures.c.signing_key,
        key_signatures.c.signature,
    ).where(
        key_signatures.c.target.in_(targets),
        sa.or_(key_signatures.c.signer == key_signatures.c.target, key_signatures.c.signer == (seen_by or 0)),
    )
    return [KeySignature(*row) for row in conn.execute(query)]


def add_signatures(tx: Write, new: Collection[KeySignature], position: int) -> None:
    """Store signatures; one that is there is replaced."""
    for one in new:
        values = {
            "signer": one.signer, "target": one.target, "key_name": one.key_name, "signing_key": one.signing_key,
            "signature": one.signature, "position": position,
        }  # fmt: skip
        insert = upsert(tx.conn, key_signatures).values(values)
        changed = {"signature": insert.excluded.signature, "position": insert.excluded.position}
        keys = ["signer", "target", "key_name", "signing_key"]
        tx.conn.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed))


def forget_signatures(tx: Write, target: UserNid, key_names: Collection[str]) -> None:
    """Forget the signatures under keys of a user that are no more."""
    tx.conn.execute(
        key_signatures.delete().where(key_signatures.c.target == target, key_signatures.c.key_name.in_(key_names))
    )


def signed_since(conn: Connection, signer: UserNid, since: int, until: int) -> set[UserNid]:
    """Return the other users whose keys a user has signed between two positions."""
    query = sa.select(key_signatures.c.target).where(
        key_signatures.c.signer == signer,
        key_signatures.c.target != signer,
        key_signatures.c.position > since,
        key_signatures.c.position <= until,
    )
    return {UserNid(target) for target in conn.execute(query).scalars()}
