"""Tables of users, accounts, their devices and tokens, and what a user keeps for themselves."""

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, UniqueConstraint

from homeserver.storage.schema.columns import Bytes, Json, Key, Number, metadata, reference

users = Table(
    "users",
    metadata,
    Column("nid", Number, primary_key=True),
    Column("user_id", Key, nullable=False, unique=True),
    info={"pruned": "kept: every user ever seen, interned"},
)

accounts = Table(
    "accounts",
    metadata,
    reference("user", "users.nid", primary_key=True),
    Column("password_hash", Text),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created_at", Number, nullable=False),
    Column("deactivated_at", Number),
    Column("locked", Boolean, nullable=False, default=False),
    Column("suspended", Boolean, nullable=False, default=False),
    info={"pruned": "kept: a deactivated account's name is never given again"},
)

scram_keys = Table(
    "scram_keys",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("mechanism", Key, primary_key=True),
    Column("salt", Bytes, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("stored_key", Bytes, nullable=False),
    Column("server_key", Bytes, nullable=False),
    info={"pruned": "with the password: one row a mechanism"},
)

devices = Table(
    "devices",
    metadata,
    Column("nid", Number, primary_key=True),
    reference("user", "accounts.user"),
    Column("device_id", Key, nullable=False),
    Column("display_name", Text),
    Column("created_at", Number, nullable=False),
    Column("last_seen_at", Number),
    Column("last_seen_ip", Text),
    Column("last_seen_agent", Text),
    UniqueConstraint("user", "device_id"),
    info={"pruned": "by logout"},
    sqlite_autoincrement=True,
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("hash", Bytes, primary_key=True),
    reference("device", "devices.nid", index=True),
    Column("created_at", Number, nullable=False),
    Column("expires_at", Number),
    info={"pruned": "by logout, and when expired with no refresh token left", "pruner": "tokens.prune"},
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", Bytes, primary_key=True),
    reference("device", "devices.nid", index=True),
    Column("access_hash", Bytes),
    Column("successor_hash", Bytes),
    Column("created_at", Number, nullable=False),
    Column("expires_at", Number),
    info={"pruned": "once its successor has been used", "pruner": "tokens.prune"},
)

login_tokens = Table(
    "login_tokens",
    metadata,
    Column("hash", Bytes, primary_key=True),
    reference("user", "accounts.user"),
    Column("expires_at", Number, nullable=False, index=True),
    info={"pruned": "when expired", "pruner": "tokens.prune"},
)

openid_tokens = Table(
    "openid_tokens",
    metadata,
    Column("hash", Bytes, primary_key=True),
    reference("user", "accounts.user"),
    Column("expires_at", Number, nullable=False, index=True),
    info={"pruned": "when expired", "pruner": "tokens.prune"},
)

registration_tokens = Table(
    "registration_tokens",
    metadata,
    Column("token", Key, primary_key=True),
    Column("uses_allowed", Integer),
    Column("completed", Integer, nullable=False, default=0),
    Column("created_at", Number, nullable=False),
    Column("expires_at", Number),
    info={"pruned": "by the operator"},
)

interactive_sessions = Table(
    "interactive_sessions",
    metadata,
    Column("session_id", Key, primary_key=True),
    Column("purpose", Key, nullable=False),
    reference("user", "accounts.user", nullable=True),
    Column("completed", Json, nullable=False),
    Column("result", Json),
    Column("expires_at", Number, nullable=False, index=True),
    info={"pruned": "when expired", "pruner": "interactive_sessions.prune"},
)

profiles = Table(
    "profiles",
    metadata,
    reference("user", "users.nid", primary_key=True),
    Column("field", Key, primary_key=True),
    Column("value", Json, nullable=False),
    # Of display names: case-folded, for the user directory.
    Column("folded", Key),
    info={"pruned": "by its owner; bounded in bytes for each user"},
)

account_data = Table(
    "account_data",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("type", Key, primary_key=True),
    Column("content", Json, nullable=False),
    Column("position", Number, nullable=False),
    Index(None, "user", "position"),
    info={"pruned": "by its owner"},
)

room_account_data = Table(
    "room_account_data",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    reference("room", "rooms.nid", primary_key=True, index=True),
    Column("type", Key, primary_key=True),
    Column("content", Json, nullable=False),
    Column("position", Number, nullable=False),
    Index(None, "user", "position"),
    info={"pruned": "by its owner, and with the room"},
)

filters = Table(
    "filters",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("filter_id", Number, primary_key=True, autoincrement=False),
    Column("hash", Bytes, nullable=False),
    Column("body", Json, nullable=False),
    UniqueConstraint("user", "hash"),
    info={"pruned": "kept: equal filters share a row, and each user has at most some hundreds"},
)

push_rules = Table(
    "push_rules",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("rules", Json, nullable=False),
    Column("position", Number, nullable=False),
    info={"pruned": "one row an account"},
)

presence = Table(
    "presence",
    metadata,
    reference("user", "users.nid", primary_key=True),
    Column("state", Key, nullable=False),
    Column("status_msg", Text),
    Column("last_active_at", Number, nullable=False),
    info={"pruned": "one row a user"},
)
