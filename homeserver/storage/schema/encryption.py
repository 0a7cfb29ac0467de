"""Tables of end-to-end encryption: what devices publish so that others can write to them. Nothing here is secret."""

from sqlalchemy import Boolean, Column, Index, Table, Text

from homeserver.storage.schema.columns import Json, Key, Number, metadata, reference

device_keys = Table(
    "device_keys",
    metadata,
    reference("device", "devices.nid", primary_key=True),
    Column("keys", Json, nullable=False),
    info={"pruned": "with the device"},
)

one_time_keys = Table(
    "one_time_keys",
    metadata,
    reference("device", "devices.nid", primary_key=True),
    Column("algorithm", Key, primary_key=True),
    Column("key_id", Key, primary_key=True),
    # In the order of their uploads they are given out.
    Column("position", Number, nullable=False),
    Column("key", Json, nullable=False),
    Index(None, "device", "algorithm", "position"),
    info={"pruned": "with the device, and when claimed; at most some hundreds a device"},
)

fallback_keys = Table(
    "fallback_keys",
    metadata,
    reference("device", "devices.nid", primary_key=True),
    Column("algorithm", Key, primary_key=True),
    Column("key_id", Key, nullable=False),
    Column("key", Json, nullable=False),
    Column("used", Boolean, nullable=False, default=False),
    info={"pruned": "one row an algorithm; with the device"},
)

cross_signing_keys = Table(
    "cross_signing_keys",
    metadata,
    # Of users of other servers too, as their servers told of them.
    reference("user", "users.nid", primary_key=True),
    Column("usage", Key, primary_key=True),
    Column("key", Json, nullable=False),
    info={"pruned": "one row a user and usage: three at most"},
)

key_signatures = Table(
    "key_signatures",
    metadata,
    reference("signer", "accounts.user", primary_key=True),
    reference("target", "users.nid", primary_key=True, index=True),
    # The device ID or the public key that is signed, and the ID of the key that signed it.
    Column("key_name", Key, primary_key=True),
    Column("signing_key", Key, primary_key=True),
    Column("signature", Text, nullable=False),
    Column("position", Number, nullable=False),
    Index(None, "signer", "position"),
    info={"pruned": "with the account of the signer, and when the signed key is replaced"},
)

received_messages = Table(
    "received_messages",
    metadata,
    # To-device messages of other servers, so that one which is sent twice arrives once.
    Column("origin", Key, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("received_at", Number, nullable=False, index=True),
    info={"pruned": "after some days", "pruner": "to_device.prune_received"},
)

device_lists = Table(
    "device_lists",
    metadata,
    reference("user", "users.nid", primary_key=True),
    # Of the newest change of the user's devices or cross-signing keys.
    Column("position", Number, nullable=False, index=True),
    # For users of other servers: how far their server has told us, and whether its list must be asked for anew.
    Column("stream_id", Number),
    Column("stale", Boolean, nullable=False, default=False),
    info={"pruned": "one row a user"},
)

remote_devices = Table(
    "remote_devices",
    metadata,
    reference("user", "users.nid", primary_key=True),
    Column("device_id", Key, primary_key=True),
    Column("keys", Json, nullable=False),
    Column("display_name", Text),
    info={
        "pruned": "when their server says that they are gone, or no room is shared any more",
        "pruner": "device_lists.forget_strangers",
    },
)
