CREATE TABLE destination_sets (
	nid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	digest TEXT NOT NULL,
	CONSTRAINT uq_destination_sets_digest UNIQUE (digest)
);

CREATE TABLE destinations (
	nid INTEGER NOT NULL,
	server TEXT NOT NULL,
	cursor INTEGER NOT NULL,
	in_flight BLOB,
	failing_since INTEGER,
	tried_at INTEGER,
	retry_at INTEGER,
	error TEXT,
	blocked BOOLEAN NOT NULL,
	retry_asked BOOLEAN NOT NULL,
	CONSTRAINT pk_destinations PRIMARY KEY (nid),
	CONSTRAINT uq_destinations_server UNIQUE (server)
);

CREATE TABLE event_types (
	nid INTEGER NOT NULL,
	type TEXT NOT NULL,
	CONSTRAINT pk_event_types PRIMARY KEY (nid),
	CONSTRAINT uq_event_types_type UNIQUE (type)
);

CREATE TABLE position (
	id INTEGER NOT NULL,
	value INTEGER NOT NULL,
	CONSTRAINT pk_position PRIMARY KEY (id)
);

CREATE TABLE received_messages (
	origin TEXT NOT NULL,
	message_id TEXT NOT NULL,
	received_at INTEGER NOT NULL,
	CONSTRAINT pk_received_messages PRIMARY KEY (origin, message_id)
);

CREATE TABLE registration_tokens (
	token TEXT NOT NULL,
	uses_allowed INTEGER,
	completed INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	CONSTRAINT pk_registration_tokens PRIMARY KEY (token)
);

CREATE TABLE retired_keys (
	key_id TEXT NOT NULL,
	public_key BLOB NOT NULL,
	expired_at INTEGER NOT NULL,
	CONSTRAINT pk_retired_keys PRIMARY KEY (key_id)
);

CREATE TABLE rooms (
	nid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	room_id TEXT NOT NULL,
	version TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	head INTEGER NOT NULL,
	depth INTEGER NOT NULL,
	extremities BLOB NOT NULL,
	snapshot INTEGER,
	joined INTEGER NOT NULL,
	invited INTEGER NOT NULL,
	published BOOLEAN NOT NULL,
	CONSTRAINT uq_rooms_room_id UNIQUE (room_id),
	CONSTRAINT fk_rooms_snapshot FOREIGN KEY(snapshot) REFERENCES snapshots (nid)
);

CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	CONSTRAINT pk_schema_version PRIMARY KEY (version)
);

CREATE TABLE secrets (
	name TEXT NOT NULL,
	value BLOB NOT NULL,
	CONSTRAINT pk_secrets PRIMARY KEY (name)
);

CREATE TABLE server_keys (
	server TEXT NOT NULL,
	key_id TEXT NOT NULL,
	public_key BLOB NOT NULL,
	valid_until INTEGER NOT NULL,
	current BOOLEAN NOT NULL,
	fetched_at INTEGER NOT NULL,
	document BLOB NOT NULL,
	CONSTRAINT pk_server_keys PRIMARY KEY (server, key_id)
);

CREATE TABLE server_transactions (
	origin TEXT NOT NULL,
	txn_id TEXT NOT NULL,
	answer BLOB NOT NULL,
	created_at INTEGER NOT NULL,
	CONSTRAINT pk_server_transactions PRIMARY KEY (origin, txn_id)
);

CREATE TABLE thumbnails (
	source_sha256 BLOB NOT NULL,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	method TEXT NOT NULL,
	animated BOOLEAN NOT NULL,
	content_type TEXT NOT NULL,
	size INTEGER NOT NULL,
	sha256 BLOB NOT NULL,
	CONSTRAINT pk_thumbnails PRIMARY KEY (source_sha256, width, height, method, animated)
);

CREATE TABLE users (
	nid INTEGER NOT NULL,
	user_id TEXT NOT NULL,
	CONSTRAINT pk_users PRIMARY KEY (nid),
	CONSTRAINT uq_users_user_id UNIQUE (user_id)
);

CREATE TABLE accounts (
	user INTEGER NOT NULL,
	password_hash TEXT,
	admin BOOLEAN NOT NULL,
	created_at INTEGER NOT NULL,
	deactivated_at INTEGER,
	locked BOOLEAN NOT NULL,
	suspended BOOLEAN NOT NULL,
	CONSTRAINT pk_accounts PRIMARY KEY (user),
	CONSTRAINT fk_accounts_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE aliases (
	alias TEXT NOT NULL,
	room INTEGER NOT NULL,
	creator INTEGER NOT NULL,
	CONSTRAINT pk_aliases PRIMARY KEY (alias),
	CONSTRAINT fk_aliases_creator FOREIGN KEY(creator) REFERENCES users (nid),
	CONSTRAINT fk_aliases_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE cross_signing_keys (
	user INTEGER NOT NULL,
	usage TEXT NOT NULL,
	"key" BLOB NOT NULL,
	CONSTRAINT pk_cross_signing_keys PRIMARY KEY (user, usage),
	CONSTRAINT fk_cross_signing_keys_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE destination_set_members (
	"set" INTEGER NOT NULL,
	destination INTEGER NOT NULL,
	CONSTRAINT pk_destination_set_members PRIMARY KEY ("set", destination),
	CONSTRAINT fk_destination_set_members_set FOREIGN KEY("set") REFERENCES destination_sets (nid) ON DELETE CASCADE,
	CONSTRAINT fk_destination_set_members_destination FOREIGN KEY(destination) REFERENCES destinations (nid)
);

CREATE TABLE device_lists (
	user INTEGER NOT NULL,
	position INTEGER NOT NULL,
	stream_id INTEGER,
	stale BOOLEAN NOT NULL,
	CONSTRAINT pk_device_lists PRIMARY KEY (user),
	CONSTRAINT fk_device_lists_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE media (
	origin TEXT NOT NULL,
	media_id TEXT NOT NULL,
	uploader INTEGER,
	content_type TEXT,
	upload_name TEXT,
	size INTEGER,
	sha256 BLOB,
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	CONSTRAINT pk_media PRIMARY KEY (origin, media_id),
	CONSTRAINT fk_media_uploader FOREIGN KEY(uploader) REFERENCES users (nid)
);

CREATE TABLE presence (
	user INTEGER NOT NULL,
	state TEXT NOT NULL,
	status_msg TEXT,
	last_active_at INTEGER NOT NULL,
	CONSTRAINT pk_presence PRIMARY KEY (user),
	CONSTRAINT fk_presence_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE profiles (
	user INTEGER NOT NULL,
	field TEXT NOT NULL,
	value BLOB NOT NULL,
	folded TEXT,
	CONSTRAINT pk_profiles PRIMARY KEY (user, field),
	CONSTRAINT fk_profiles_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE receipts (
	room INTEGER NOT NULL,
	user INTEGER NOT NULL,
	kind TEXT NOT NULL,
	thread TEXT NOT NULL,
	event_id TEXT NOT NULL,
	place INTEGER NOT NULL,
	sent_at INTEGER NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_receipts PRIMARY KEY (room, user, kind, thread),
	CONSTRAINT fk_receipts_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_receipts_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE remote_devices (
	user INTEGER NOT NULL,
	device_id TEXT NOT NULL,
	keys BLOB NOT NULL,
	display_name TEXT,
	CONSTRAINT pk_remote_devices PRIMARY KEY (user, device_id),
	CONSTRAINT fk_remote_devices_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE room_addresses (
	localpart TEXT NOT NULL,
	room INTEGER NOT NULL,
	CONSTRAINT pk_room_addresses PRIMARY KEY (localpart),
	CONSTRAINT fk_room_addresses_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE room_servers (
	room INTEGER NOT NULL,
	server TEXT NOT NULL,
	joined INTEGER NOT NULL,
	CONSTRAINT pk_room_servers PRIMARY KEY (room, server),
	CONSTRAINT fk_room_servers_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE snapshots (
	nid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	room INTEGER NOT NULL,
	base INTEGER,
	entries BLOB NOT NULL,
	CONSTRAINT fk_snapshots_base FOREIGN KEY(base) REFERENCES snapshots (nid),
	CONSTRAINT fk_snapshots_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE state_slots (
	nid INTEGER NOT NULL,
	type INTEGER NOT NULL,
	state_key TEXT NOT NULL,
	CONSTRAINT pk_state_slots PRIMARY KEY (nid),
	CONSTRAINT fk_state_slots_type FOREIGN KEY(type) REFERENCES event_types (nid),
	CONSTRAINT uq_state_slots_type_state_key UNIQUE (type, state_key)
);

CREATE TABLE unfinished_joins (
	user INTEGER NOT NULL,
	room_id TEXT NOT NULL,
	request BLOB NOT NULL,
	created_at INTEGER NOT NULL,
	CONSTRAINT pk_unfinished_joins PRIMARY KEY (user, room_id),
	CONSTRAINT fk_unfinished_joins_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE account_data (
	user INTEGER NOT NULL,
	type TEXT NOT NULL,
	content BLOB NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_account_data PRIMARY KEY (user, type),
	CONSTRAINT fk_account_data_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE devices (
	nid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	user INTEGER NOT NULL,
	device_id TEXT NOT NULL,
	display_name TEXT,
	created_at INTEGER NOT NULL,
	last_seen_at INTEGER,
	last_seen_ip TEXT,
	last_seen_agent TEXT,
	CONSTRAINT uq_devices_user_device_id UNIQUE (user, device_id),
	CONSTRAINT fk_devices_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE events (
	nid INTEGER NOT NULL,
	room INTEGER NOT NULL,
	event_id TEXT NOT NULL,
	type INTEGER NOT NULL,
	slot INTEGER,
	sender INTEGER NOT NULL,
	sent_at INTEGER NOT NULL,
	depth INTEGER NOT NULL,
	content BLOB NOT NULL,
	envelope BLOB NOT NULL,
	place INTEGER,
	snapshot INTEGER,
	room_snapshot INTEGER,
	replaces INTEGER,
	stood INTEGER,
	redacted_by INTEGER,
	status SMALLINT NOT NULL,
	CONSTRAINT pk_events PRIMARY KEY (nid),
	CONSTRAINT uq_events_event_id UNIQUE (event_id),
	CONSTRAINT fk_events_slot FOREIGN KEY(slot) REFERENCES state_slots (nid),
	CONSTRAINT fk_events_snapshot FOREIGN KEY(snapshot) REFERENCES snapshots (nid),
	CONSTRAINT fk_events_room FOREIGN KEY(room) REFERENCES rooms (nid),
	CONSTRAINT fk_events_room_snapshot FOREIGN KEY(room_snapshot) REFERENCES snapshots (nid),
	CONSTRAINT fk_events_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_events_type FOREIGN KEY(type) REFERENCES event_types (nid)
);

CREATE TABLE filters (
	user INTEGER NOT NULL,
	filter_id INTEGER NOT NULL,
	hash BLOB NOT NULL,
	body BLOB NOT NULL,
	CONSTRAINT pk_filters PRIMARY KEY (user, filter_id),
	CONSTRAINT fk_filters_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE,
	CONSTRAINT uq_filters_user_hash UNIQUE (user, hash)
);

CREATE TABLE interactive_sessions (
	session_id TEXT NOT NULL,
	purpose TEXT NOT NULL,
	user INTEGER,
	completed BLOB NOT NULL,
	result BLOB,
	expires_at INTEGER NOT NULL,
	CONSTRAINT pk_interactive_sessions PRIMARY KEY (session_id),
	CONSTRAINT fk_interactive_sessions_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE key_signatures (
	signer INTEGER NOT NULL,
	target INTEGER NOT NULL,
	key_name TEXT NOT NULL,
	signing_key TEXT NOT NULL,
	signature TEXT NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_key_signatures PRIMARY KEY (signer, target, key_name, signing_key),
	CONSTRAINT fk_key_signatures_target FOREIGN KEY(target) REFERENCES users (nid) ON DELETE CASCADE,
	CONSTRAINT fk_key_signatures_signer FOREIGN KEY(signer) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE login_tokens (
	hash BLOB NOT NULL,
	user INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	CONSTRAINT pk_login_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_login_tokens_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE openid_tokens (
	hash BLOB NOT NULL,
	user INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	CONSTRAINT pk_openid_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_openid_tokens_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE pep_nodes (
	nid INTEGER NOT NULL,
	user INTEGER NOT NULL,
	node TEXT NOT NULL,
	config BLOB NOT NULL,
	CONSTRAINT pk_pep_nodes PRIMARY KEY (nid),
	CONSTRAINT uq_pep_nodes_user_node UNIQUE (user, node),
	CONSTRAINT fk_pep_nodes_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE private_xml (
	user INTEGER NOT NULL,
	namespace TEXT NOT NULL,
	name TEXT NOT NULL,
	content BLOB NOT NULL,
	CONSTRAINT pk_private_xml PRIMARY KEY (user, namespace, name),
	CONSTRAINT fk_private_xml_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE push_rules (
	user INTEGER NOT NULL,
	rules BLOB NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_push_rules PRIMARY KEY (user),
	CONSTRAINT fk_push_rules_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE room_account_data (
	user INTEGER NOT NULL,
	room INTEGER NOT NULL,
	type TEXT NOT NULL,
	content BLOB NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_room_account_data PRIMARY KEY (user, room, type),
	CONSTRAINT fk_room_account_data_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE,
	CONSTRAINT fk_room_account_data_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE roster_items (
	user INTEGER NOT NULL,
	jid TEXT NOT NULL,
	name TEXT,
	subscription TEXT NOT NULL,
	ask TEXT,
	groups BLOB NOT NULL,
	CONSTRAINT pk_roster_items PRIMARY KEY (user, jid),
	CONSTRAINT fk_roster_items_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE scram_keys (
	user INTEGER NOT NULL,
	mechanism TEXT NOT NULL,
	salt BLOB NOT NULL,
	iterations INTEGER NOT NULL,
	stored_key BLOB NOT NULL,
	server_key BLOB NOT NULL,
	CONSTRAINT pk_scram_keys PRIMARY KEY (user, mechanism),
	CONSTRAINT fk_scram_keys_user FOREIGN KEY(user) REFERENCES accounts (user) ON DELETE CASCADE
);

CREATE TABLE access_tokens (
	hash BLOB NOT NULL,
	device INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	CONSTRAINT pk_access_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_access_tokens_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE awaited_events (
	room INTEGER NOT NULL,
	event_id TEXT NOT NULL,
	"by" INTEGER NOT NULL,
	snapshot INTEGER,
	CONSTRAINT pk_awaited_events PRIMARY KEY (room, event_id, "by"),
	CONSTRAINT fk_awaited_events_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_awaited_events_by FOREIGN KEY("by") REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_awaited_events_snapshot FOREIGN KEY(snapshot) REFERENCES snapshots (nid)
);

CREATE TABLE client_transactions (
	device INTEGER NOT NULL,
	scope TEXT NOT NULL,
	txn_id TEXT NOT NULL,
	event INTEGER,
	created_at INTEGER NOT NULL,
	CONSTRAINT pk_client_transactions PRIMARY KEY (device, scope, txn_id),
	CONSTRAINT fk_client_transactions_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_client_transactions_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE device_keys (
	device INTEGER NOT NULL,
	keys BLOB NOT NULL,
	CONSTRAINT pk_device_keys PRIMARY KEY (device),
	CONSTRAINT fk_device_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE fallback_keys (
	device INTEGER NOT NULL,
	algorithm TEXT NOT NULL,
	key_id TEXT NOT NULL,
	"key" BLOB NOT NULL,
	used BOOLEAN NOT NULL,
	CONSTRAINT pk_fallback_keys PRIMARY KEY (device, algorithm),
	CONSTRAINT fk_fallback_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE memberships (
	room INTEGER NOT NULL,
	user INTEGER NOT NULL,
	membership TEXT NOT NULL,
	event INTEGER NOT NULL,
	began INTEGER NOT NULL,
	position INTEGER NOT NULL,
	began_at INTEGER NOT NULL,
	sender INTEGER NOT NULL,
	display_name TEXT,
	avatar_url TEXT,
	forgotten BOOLEAN NOT NULL,
	stripped_state BLOB,
	CONSTRAINT pk_memberships PRIMARY KEY (room, user),
	CONSTRAINT fk_memberships_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_memberships_began FOREIGN KEY(began) REFERENCES events (nid),
	CONSTRAINT fk_memberships_event FOREIGN KEY(event) REFERENCES events (nid),
	CONSTRAINT fk_memberships_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_memberships_user FOREIGN KEY(user) REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE one_time_keys (
	device INTEGER NOT NULL,
	algorithm TEXT NOT NULL,
	key_id TEXT NOT NULL,
	position INTEGER NOT NULL,
	"key" BLOB NOT NULL,
	CONSTRAINT pk_one_time_keys PRIMARY KEY (device, algorithm, key_id),
	CONSTRAINT fk_one_time_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE outbox (
	position INTEGER NOT NULL,
	destinations INTEGER NOT NULL,
	omitted INTEGER,
	event INTEGER,
	edu BLOB,
	"key" TEXT,
	CONSTRAINT pk_outbox PRIMARY KEY (position),
	CONSTRAINT fk_outbox_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_outbox_destinations FOREIGN KEY(destinations) REFERENCES destination_sets (nid),
	CONSTRAINT fk_outbox_omitted FOREIGN KEY(omitted) REFERENCES destinations (nid)
);

CREATE TABLE pep_items (
	nid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	node INTEGER NOT NULL,
	item_id TEXT NOT NULL,
	payload BLOB NOT NULL,
	CONSTRAINT fk_pep_items_node FOREIGN KEY(node) REFERENCES pep_nodes (nid) ON DELETE CASCADE,
	CONSTRAINT uq_pep_items_node_item_id UNIQUE (node, item_id)
);

CREATE TABLE refresh_tokens (
	hash BLOB NOT NULL,
	device INTEGER NOT NULL,
	access_hash BLOB,
	successor_hash BLOB,
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	CONSTRAINT pk_refresh_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_refresh_tokens_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE relations (
	event INTEGER NOT NULL,
	room INTEGER NOT NULL,
	place INTEGER NOT NULL,
	parent TEXT NOT NULL,
	rel_type INTEGER NOT NULL,
	type INTEGER NOT NULL,
	sender INTEGER NOT NULL,
	"key" TEXT,
	CONSTRAINT pk_relations PRIMARY KEY (event),
	CONSTRAINT fk_relations_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_relations_type FOREIGN KEY(type) REFERENCES event_types (nid),
	CONSTRAINT fk_relations_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_relations_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_relations_rel_type FOREIGN KEY(rel_type) REFERENCES event_types (nid)
);

CREATE TABLE removed_reactions (
	event INTEGER NOT NULL,
	parent TEXT NOT NULL,
	CONSTRAINT pk_removed_reactions PRIMARY KEY (event),
	CONSTRAINT fk_removed_reactions_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE
);

CREATE TABLE sent_files (
	event INTEGER NOT NULL,
	media_id TEXT NOT NULL,
	CONSTRAINT pk_sent_files PRIMARY KEY (event),
	CONSTRAINT fk_sent_files_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE
);

CREATE TABLE stanza_ids (
	event INTEGER NOT NULL,
	room INTEGER NOT NULL,
	sender INTEGER NOT NULL,
	stanza_id TEXT NOT NULL,
	CONSTRAINT pk_stanza_ids PRIMARY KEY (event),
	CONSTRAINT fk_stanza_ids_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_stanza_ids_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_stanza_ids_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE to_device (
	position INTEGER NOT NULL,
	device INTEGER NOT NULL,
	sender INTEGER NOT NULL,
	type TEXT NOT NULL,
	content BLOB NOT NULL,
	CONSTRAINT pk_to_device PRIMARY KEY (position),
	CONSTRAINT fk_to_device_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE,
	CONSTRAINT fk_to_device_sender FOREIGN KEY(sender) REFERENCES users (nid)
);

CREATE INDEX ix_access_tokens_device ON access_tokens (device);

CREATE INDEX ix_account_data_user_account_data_position ON account_data (user, position);

CREATE INDEX ix_aliases_room ON aliases (room);

CREATE INDEX ix_awaited_events_by ON awaited_events ("by");

CREATE INDEX ix_awaited_events_snapshot ON awaited_events (snapshot);

CREATE INDEX ix_client_transactions_created_at ON client_transactions (created_at);

CREATE INDEX ix_client_transactions_event ON client_transactions (event);

CREATE INDEX ix_destination_set_members_destination_destination_set_members_set ON destination_set_members (destination, "set");

CREATE INDEX ix_device_lists_position ON device_lists (position);

CREATE INDEX ix_events_room_events_place ON events (room, place);

CREATE INDEX ix_events_room_events_sent_at ON events (room, sent_at);

CREATE INDEX ix_events_room_snapshot ON events (room_snapshot) WHERE room_snapshot IS NOT NULL;

CREATE INDEX ix_events_snapshot ON events (snapshot);

CREATE INDEX ix_interactive_sessions_expires_at ON interactive_sessions (expires_at);

CREATE INDEX ix_key_signatures_signer_key_signatures_position ON key_signatures (signer, position);

CREATE INDEX ix_key_signatures_target ON key_signatures (target);

CREATE INDEX ix_login_tokens_expires_at ON login_tokens (expires_at);

CREATE INDEX ix_media_sha256 ON media (sha256);

CREATE INDEX ix_media_uploader_media_created_at ON media (uploader, created_at);

CREATE INDEX ix_memberships_began ON memberships (began);

CREATE INDEX ix_memberships_event ON memberships (event);

CREATE INDEX ix_memberships_room_memberships_membership ON memberships (room, membership);

CREATE INDEX ix_memberships_user_memberships_membership ON memberships (user, membership);

CREATE INDEX ix_one_time_keys_device_one_time_keys_algorithm_one_time_keys_position ON one_time_keys (device, algorithm, position);

CREATE INDEX ix_openid_tokens_expires_at ON openid_tokens (expires_at);

CREATE INDEX ix_outbox_destinations_outbox_position ON outbox (destinations, position);

CREATE INDEX ix_outbox_event ON outbox (event);

CREATE INDEX ix_pep_items_node_pep_items_nid ON pep_items (node, nid);

CREATE INDEX ix_receipts_room_receipts_position ON receipts (room, position);

CREATE INDEX ix_receipts_user_receipts_position ON receipts (user, position);

CREATE INDEX ix_received_messages_received_at ON received_messages (received_at);

CREATE INDEX ix_refresh_tokens_device ON refresh_tokens (device);

CREATE INDEX ix_relations_room_relations_parent_relations_rel_type_relations_place ON relations (room, parent, rel_type, place);

CREATE INDEX ix_relations_room_relations_rel_type_relations_place ON relations (room, rel_type, place);

CREATE INDEX ix_room_account_data_room ON room_account_data (room);

CREATE INDEX ix_room_account_data_user_room_account_data_position ON room_account_data (user, position);

CREATE INDEX ix_room_addresses_room ON room_addresses (room);

CREATE INDEX ix_room_servers_server ON room_servers (server);

CREATE INDEX ix_rooms_snapshot ON rooms (snapshot);

CREATE INDEX ix_sent_files_media_id ON sent_files (media_id);

CREATE INDEX ix_server_keys_fetched_at ON server_keys (fetched_at);

CREATE INDEX ix_server_transactions_created_at ON server_transactions (created_at);

CREATE INDEX ix_snapshots_base ON snapshots (base);

CREATE INDEX ix_snapshots_room ON snapshots (room);

CREATE INDEX ix_stanza_ids_room_stanza_ids_stanza_id ON stanza_ids (room, stanza_id);

CREATE INDEX ix_thumbnails_sha256 ON thumbnails (sha256);

CREATE INDEX ix_to_device_device_to_device_position ON to_device (device, position);

CREATE INDEX ix_unfinished_joins_created_at ON unfinished_joins (created_at);

INSERT INTO schema_version (version) VALUES (1);

INSERT INTO position (id, value) VALUES (1, 42);
