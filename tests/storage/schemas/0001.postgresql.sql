CREATE TABLE destination_sets (
	nid BIGSERIAL NOT NULL,
	digest VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_destination_sets PRIMARY KEY (nid),
	CONSTRAINT uq_destination_sets_digest UNIQUE (digest)
);

CREATE TABLE destinations (
	nid BIGSERIAL NOT NULL,
	server VARCHAR COLLATE "C" NOT NULL,
	cursor BIGINT NOT NULL,
	in_flight BYTEA,
	failing_since BIGINT,
	tried_at BIGINT,
	retry_at BIGINT,
	error TEXT,
	blocked BOOLEAN NOT NULL,
	retry_asked BOOLEAN NOT NULL,
	CONSTRAINT pk_destinations PRIMARY KEY (nid),
	CONSTRAINT uq_destinations_server UNIQUE (server)
);

CREATE TABLE event_types (
	nid BIGSERIAL NOT NULL,
	type VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_event_types PRIMARY KEY (nid),
	CONSTRAINT uq_event_types_type UNIQUE (type)
);

CREATE TABLE position (
	id INTEGER NOT NULL,
	value BIGINT NOT NULL,
	CONSTRAINT pk_position PRIMARY KEY (id)
);

CREATE TABLE received_messages (
	origin VARCHAR COLLATE "C" NOT NULL,
	message_id VARCHAR COLLATE "C" NOT NULL,
	received_at BIGINT NOT NULL,
	CONSTRAINT pk_received_messages PRIMARY KEY (origin, message_id)
);

CREATE TABLE registration_tokens (
	token VARCHAR COLLATE "C" NOT NULL,
	uses_allowed INTEGER,
	completed INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_registration_tokens PRIMARY KEY (token)
);

CREATE TABLE retired_keys (
	key_id VARCHAR COLLATE "C" NOT NULL,
	public_key BYTEA NOT NULL,
	expired_at BIGINT NOT NULL,
	CONSTRAINT pk_retired_keys PRIMARY KEY (key_id)
);

CREATE TABLE rooms (
	nid BIGSERIAL NOT NULL,
	room_id VARCHAR COLLATE "C" NOT NULL,
	version VARCHAR COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	head BIGINT NOT NULL,
	depth BIGINT NOT NULL,
	extremities BYTEA NOT NULL,
	snapshot BIGINT,
	joined BIGINT NOT NULL,
	invited BIGINT NOT NULL,
	published BOOLEAN NOT NULL,
	CONSTRAINT pk_rooms PRIMARY KEY (nid),
	CONSTRAINT uq_rooms_room_id UNIQUE (room_id)
);

CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	CONSTRAINT pk_schema_version PRIMARY KEY (version)
);

CREATE TABLE secrets (
	name VARCHAR COLLATE "C" NOT NULL,
	value BYTEA NOT NULL,
	CONSTRAINT pk_secrets PRIMARY KEY (name)
);

CREATE TABLE server_keys (
	server VARCHAR COLLATE "C" NOT NULL,
	key_id VARCHAR COLLATE "C" NOT NULL,
	public_key BYTEA NOT NULL,
	valid_until BIGINT NOT NULL,
	current BOOLEAN NOT NULL,
	fetched_at BIGINT NOT NULL,
	document BYTEA NOT NULL,
	CONSTRAINT pk_server_keys PRIMARY KEY (server, key_id)
);

CREATE TABLE server_transactions (
	origin VARCHAR COLLATE "C" NOT NULL,
	txn_id VARCHAR COLLATE "C" NOT NULL,
	answer BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_server_transactions PRIMARY KEY (origin, txn_id)
);

CREATE TABLE thumbnails (
	source_sha256 BYTEA NOT NULL,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	method VARCHAR COLLATE "C" NOT NULL,
	animated BOOLEAN NOT NULL,
	content_type TEXT NOT NULL,
	size BIGINT NOT NULL,
	sha256 BYTEA NOT NULL,
	CONSTRAINT pk_thumbnails PRIMARY KEY (source_sha256, width, height, method, animated)
);

CREATE TABLE users (
	nid BIGSERIAL NOT NULL,
	user_id VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_users PRIMARY KEY (nid),
	CONSTRAINT uq_users_user_id UNIQUE (user_id)
);

CREATE TABLE accounts (
	"user" BIGINT NOT NULL,
	password_hash TEXT,
	admin BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL,
	deactivated_at BIGINT,
	locked BOOLEAN NOT NULL,
	suspended BOOLEAN NOT NULL,
	CONSTRAINT pk_accounts PRIMARY KEY ("user"),
	CONSTRAINT fk_accounts_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE aliases (
	alias VARCHAR COLLATE "C" NOT NULL,
	room BIGINT NOT NULL,
	creator BIGINT NOT NULL,
	CONSTRAINT pk_aliases PRIMARY KEY (alias),
	CONSTRAINT fk_aliases_creator FOREIGN KEY(creator) REFERENCES users (nid),
	CONSTRAINT fk_aliases_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE cross_signing_keys (
	"user" BIGINT NOT NULL,
	usage VARCHAR COLLATE "C" NOT NULL,
	key BYTEA NOT NULL,
	CONSTRAINT pk_cross_signing_keys PRIMARY KEY ("user", usage),
	CONSTRAINT fk_cross_signing_keys_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE destination_set_members (
	set BIGINT NOT NULL,
	destination BIGINT NOT NULL,
	CONSTRAINT pk_destination_set_members PRIMARY KEY (set, destination),
	CONSTRAINT fk_destination_set_members_set FOREIGN KEY(set) REFERENCES destination_sets (nid) ON DELETE CASCADE,
	CONSTRAINT fk_destination_set_members_destination FOREIGN KEY(destination) REFERENCES destinations (nid)
);

CREATE TABLE device_lists (
	"user" BIGINT NOT NULL,
	position BIGINT NOT NULL,
	stream_id BIGINT,
	stale BOOLEAN NOT NULL,
	CONSTRAINT pk_device_lists PRIMARY KEY ("user"),
	CONSTRAINT fk_device_lists_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE media (
	origin VARCHAR COLLATE "C" NOT NULL,
	media_id VARCHAR COLLATE "C" NOT NULL,
	uploader BIGINT,
	content_type TEXT,
	upload_name TEXT,
	size BIGINT,
	sha256 BYTEA,
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_media PRIMARY KEY (origin, media_id),
	CONSTRAINT fk_media_uploader FOREIGN KEY(uploader) REFERENCES users (nid)
);

CREATE TABLE presence (
	"user" BIGINT NOT NULL,
	state VARCHAR COLLATE "C" NOT NULL,
	status_msg TEXT,
	last_active_at BIGINT NOT NULL,
	CONSTRAINT pk_presence PRIMARY KEY ("user"),
	CONSTRAINT fk_presence_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE profiles (
	"user" BIGINT NOT NULL,
	field VARCHAR COLLATE "C" NOT NULL,
	value BYTEA NOT NULL,
	folded VARCHAR COLLATE "C",
	CONSTRAINT pk_profiles PRIMARY KEY ("user", field),
	CONSTRAINT fk_profiles_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE receipts (
	room BIGINT NOT NULL,
	"user" BIGINT NOT NULL,
	kind VARCHAR COLLATE "C" NOT NULL,
	thread VARCHAR COLLATE "C" NOT NULL,
	event_id VARCHAR COLLATE "C" NOT NULL,
	place BIGINT NOT NULL,
	sent_at BIGINT NOT NULL,
	position BIGINT NOT NULL,
	CONSTRAINT pk_receipts PRIMARY KEY (room, "user", kind, thread),
	CONSTRAINT fk_receipts_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_receipts_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE remote_devices (
	"user" BIGINT NOT NULL,
	device_id VARCHAR COLLATE "C" NOT NULL,
	keys BYTEA NOT NULL,
	display_name TEXT,
	CONSTRAINT pk_remote_devices PRIMARY KEY ("user", device_id),
	CONSTRAINT fk_remote_devices_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE room_addresses (
	localpart VARCHAR COLLATE "C" NOT NULL,
	room BIGINT NOT NULL,
	CONSTRAINT pk_room_addresses PRIMARY KEY (localpart),
	CONSTRAINT fk_room_addresses_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE room_servers (
	room BIGINT NOT NULL,
	server VARCHAR COLLATE "C" NOT NULL,
	joined BIGINT NOT NULL,
	CONSTRAINT pk_room_servers PRIMARY KEY (room, server),
	CONSTRAINT fk_room_servers_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE snapshots (
	nid BIGSERIAL NOT NULL,
	room BIGINT NOT NULL,
	base BIGINT,
	entries BYTEA NOT NULL,
	CONSTRAINT pk_snapshots PRIMARY KEY (nid),
	CONSTRAINT fk_snapshots_base FOREIGN KEY(base) REFERENCES snapshots (nid),
	CONSTRAINT fk_snapshots_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE state_slots (
	nid BIGSERIAL NOT NULL,
	type BIGINT NOT NULL,
	state_key VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_state_slots PRIMARY KEY (nid),
	CONSTRAINT fk_state_slots_type FOREIGN KEY(type) REFERENCES event_types (nid),
	CONSTRAINT uq_state_slots_type_state_key UNIQUE (type, state_key)
);

CREATE TABLE unfinished_joins (
	"user" BIGINT NOT NULL,
	room_id VARCHAR COLLATE "C" NOT NULL,
	request BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_unfinished_joins PRIMARY KEY ("user", room_id),
	CONSTRAINT fk_unfinished_joins_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE account_data (
	"user" BIGINT NOT NULL,
	type VARCHAR COLLATE "C" NOT NULL,
	content BYTEA NOT NULL,
	position BIGINT NOT NULL,
	CONSTRAINT pk_account_data PRIMARY KEY ("user", type),
	CONSTRAINT fk_account_data_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE devices (
	nid BIGSERIAL NOT NULL,
	"user" BIGINT NOT NULL,
	device_id VARCHAR COLLATE "C" NOT NULL,
	display_name TEXT,
	created_at BIGINT NOT NULL,
	last_seen_at BIGINT,
	last_seen_ip TEXT,
	last_seen_agent TEXT,
	CONSTRAINT pk_devices PRIMARY KEY (nid),
	CONSTRAINT uq_devices_user_device_id UNIQUE ("user", device_id),
	CONSTRAINT fk_devices_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE events (
	nid BIGINT NOT NULL,
	room BIGINT NOT NULL,
	event_id VARCHAR COLLATE "C" NOT NULL,
	type BIGINT NOT NULL,
	slot BIGINT,
	sender BIGINT NOT NULL,
	sent_at BIGINT NOT NULL,
	depth BIGINT NOT NULL,
	content BYTEA NOT NULL,
	envelope BYTEA NOT NULL,
	place BIGINT,
	snapshot BIGINT,
	room_snapshot BIGINT,
	replaces BIGINT,
	stood BIGINT,
	redacted_by BIGINT,
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
	"user" BIGINT NOT NULL,
	filter_id BIGINT NOT NULL,
	hash BYTEA NOT NULL,
	body BYTEA NOT NULL,
	CONSTRAINT pk_filters PRIMARY KEY ("user", filter_id),
	CONSTRAINT fk_filters_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE,
	CONSTRAINT uq_filters_user_hash UNIQUE ("user", hash)
);

CREATE TABLE interactive_sessions (
	session_id VARCHAR COLLATE "C" NOT NULL,
	purpose VARCHAR COLLATE "C" NOT NULL,
	"user" BIGINT,
	completed BYTEA NOT NULL,
	result BYTEA,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_interactive_sessions PRIMARY KEY (session_id),
	CONSTRAINT fk_interactive_sessions_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE key_signatures (
	signer BIGINT NOT NULL,
	target BIGINT NOT NULL,
	key_name VARCHAR COLLATE "C" NOT NULL,
	signing_key VARCHAR COLLATE "C" NOT NULL,
	signature TEXT NOT NULL,
	position BIGINT NOT NULL,
	CONSTRAINT pk_key_signatures PRIMARY KEY (signer, target, key_name, signing_key),
	CONSTRAINT fk_key_signatures_target FOREIGN KEY(target) REFERENCES users (nid) ON DELETE CASCADE,
	CONSTRAINT fk_key_signatures_signer FOREIGN KEY(signer) REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE login_tokens (
	hash BYTEA NOT NULL,
	"user" BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_login_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_login_tokens_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE openid_tokens (
	hash BYTEA NOT NULL,
	"user" BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_openid_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_openid_tokens_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE pep_nodes (
	nid BIGSERIAL NOT NULL,
	"user" BIGINT NOT NULL,
	node VARCHAR COLLATE "C" NOT NULL,
	config BYTEA NOT NULL,
	CONSTRAINT pk_pep_nodes PRIMARY KEY (nid),
	CONSTRAINT uq_pep_nodes_user_node UNIQUE ("user", node),
	CONSTRAINT fk_pep_nodes_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE private_xml (
	"user" BIGINT NOT NULL,
	namespace VARCHAR COLLATE "C" NOT NULL,
	name VARCHAR COLLATE "C" NOT NULL,
	content BYTEA NOT NULL,
	CONSTRAINT pk_private_xml PRIMARY KEY ("user", namespace, name),
	CONSTRAINT fk_private_xml_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE push_rules (
	"user" BIGINT NOT NULL,
	rules BYTEA NOT NULL,
	position BIGINT NOT NULL,
	CONSTRAINT pk_push_rules PRIMARY KEY ("user"),
	CONSTRAINT fk_push_rules_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE room_account_data (
	"user" BIGINT NOT NULL,
	room BIGINT NOT NULL,
	type VARCHAR COLLATE "C" NOT NULL,
	content BYTEA NOT NULL,
	position BIGINT NOT NULL,
	CONSTRAINT pk_room_account_data PRIMARY KEY ("user", room, type),
	CONSTRAINT fk_room_account_data_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE,
	CONSTRAINT fk_room_account_data_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE roster_items (
	"user" BIGINT NOT NULL,
	jid VARCHAR COLLATE "C" NOT NULL,
	name VARCHAR COLLATE "C",
	subscription VARCHAR COLLATE "C" NOT NULL,
	ask VARCHAR COLLATE "C",
	groups BYTEA NOT NULL,
	CONSTRAINT pk_roster_items PRIMARY KEY ("user", jid),
	CONSTRAINT fk_roster_items_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE scram_keys (
	"user" BIGINT NOT NULL,
	mechanism VARCHAR COLLATE "C" NOT NULL,
	salt BYTEA NOT NULL,
	iterations INTEGER NOT NULL,
	stored_key BYTEA NOT NULL,
	server_key BYTEA NOT NULL,
	CONSTRAINT pk_scram_keys PRIMARY KEY ("user", mechanism),
	CONSTRAINT fk_scram_keys_user FOREIGN KEY("user") REFERENCES accounts ("user") ON DELETE CASCADE
);

CREATE TABLE access_tokens (
	hash BYTEA NOT NULL,
	device BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_access_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_access_tokens_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE awaited_events (
	room BIGINT NOT NULL,
	event_id VARCHAR COLLATE "C" NOT NULL,
	by BIGINT NOT NULL,
	snapshot BIGINT,
	CONSTRAINT pk_awaited_events PRIMARY KEY (room, event_id, by),
	CONSTRAINT fk_awaited_events_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_awaited_events_by FOREIGN KEY(by) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_awaited_events_snapshot FOREIGN KEY(snapshot) REFERENCES snapshots (nid)
);

CREATE TABLE client_transactions (
	device BIGINT NOT NULL,
	scope VARCHAR COLLATE "C" NOT NULL,
	txn_id VARCHAR COLLATE "C" NOT NULL,
	event BIGINT,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_client_transactions PRIMARY KEY (device, scope, txn_id),
	CONSTRAINT fk_client_transactions_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_client_transactions_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE device_keys (
	device BIGINT NOT NULL,
	keys BYTEA NOT NULL,
	CONSTRAINT pk_device_keys PRIMARY KEY (device),
	CONSTRAINT fk_device_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE fallback_keys (
	device BIGINT NOT NULL,
	algorithm VARCHAR COLLATE "C" NOT NULL,
	key_id VARCHAR COLLATE "C" NOT NULL,
	key BYTEA NOT NULL,
	used BOOLEAN NOT NULL,
	CONSTRAINT pk_fallback_keys PRIMARY KEY (device, algorithm),
	CONSTRAINT fk_fallback_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE memberships (
	room BIGINT NOT NULL,
	"user" BIGINT NOT NULL,
	membership VARCHAR COLLATE "C" NOT NULL,
	event BIGINT NOT NULL,
	began BIGINT NOT NULL,
	position BIGINT NOT NULL,
	began_at BIGINT NOT NULL,
	sender BIGINT NOT NULL,
	display_name TEXT,
	avatar_url TEXT,
	forgotten BOOLEAN NOT NULL,
	stripped_state BYTEA,
	CONSTRAINT pk_memberships PRIMARY KEY (room, "user"),
	CONSTRAINT fk_memberships_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_memberships_began FOREIGN KEY(began) REFERENCES events (nid),
	CONSTRAINT fk_memberships_event FOREIGN KEY(event) REFERENCES events (nid),
	CONSTRAINT fk_memberships_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_memberships_user FOREIGN KEY("user") REFERENCES users (nid) ON DELETE CASCADE
);

CREATE TABLE one_time_keys (
	device BIGINT NOT NULL,
	algorithm VARCHAR COLLATE "C" NOT NULL,
	key_id VARCHAR COLLATE "C" NOT NULL,
	position BIGINT NOT NULL,
	key BYTEA NOT NULL,
	CONSTRAINT pk_one_time_keys PRIMARY KEY (device, algorithm, key_id),
	CONSTRAINT fk_one_time_keys_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE outbox (
	position BIGINT NOT NULL,
	destinations BIGINT NOT NULL,
	omitted BIGINT,
	event BIGINT,
	edu BYTEA,
	key VARCHAR COLLATE "C",
	CONSTRAINT pk_outbox PRIMARY KEY (position),
	CONSTRAINT fk_outbox_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_outbox_destinations FOREIGN KEY(destinations) REFERENCES destination_sets (nid),
	CONSTRAINT fk_outbox_omitted FOREIGN KEY(omitted) REFERENCES destinations (nid)
);

CREATE TABLE pep_items (
	nid BIGSERIAL NOT NULL,
	node BIGINT NOT NULL,
	item_id VARCHAR COLLATE "C" NOT NULL,
	payload BYTEA NOT NULL,
	CONSTRAINT pk_pep_items PRIMARY KEY (nid),
	CONSTRAINT fk_pep_items_node FOREIGN KEY(node) REFERENCES pep_nodes (nid) ON DELETE CASCADE,
	CONSTRAINT uq_pep_items_node_item_id UNIQUE (node, item_id)
);

CREATE TABLE refresh_tokens (
	hash BYTEA NOT NULL,
	device BIGINT NOT NULL,
	access_hash BYTEA,
	successor_hash BYTEA,
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_refresh_tokens PRIMARY KEY (hash),
	CONSTRAINT fk_refresh_tokens_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE
);

CREATE TABLE relations (
	event BIGINT NOT NULL,
	room BIGINT NOT NULL,
	place BIGINT NOT NULL,
	parent VARCHAR COLLATE "C" NOT NULL,
	rel_type BIGINT NOT NULL,
	type BIGINT NOT NULL,
	sender BIGINT NOT NULL,
	key VARCHAR COLLATE "C",
	CONSTRAINT pk_relations PRIMARY KEY (event),
	CONSTRAINT fk_relations_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_relations_type FOREIGN KEY(type) REFERENCES event_types (nid),
	CONSTRAINT fk_relations_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE,
	CONSTRAINT fk_relations_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_relations_rel_type FOREIGN KEY(rel_type) REFERENCES event_types (nid)
);

CREATE TABLE removed_reactions (
	event BIGINT NOT NULL,
	parent VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_removed_reactions PRIMARY KEY (event),
	CONSTRAINT fk_removed_reactions_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE
);

CREATE TABLE sent_files (
	event BIGINT NOT NULL,
	media_id VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_sent_files PRIMARY KEY (event),
	CONSTRAINT fk_sent_files_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE
);

CREATE TABLE stanza_ids (
	event BIGINT NOT NULL,
	room BIGINT NOT NULL,
	sender BIGINT NOT NULL,
	stanza_id VARCHAR COLLATE "C" NOT NULL,
	CONSTRAINT pk_stanza_ids PRIMARY KEY (event),
	CONSTRAINT fk_stanza_ids_event FOREIGN KEY(event) REFERENCES events (nid) ON DELETE CASCADE,
	CONSTRAINT fk_stanza_ids_sender FOREIGN KEY(sender) REFERENCES users (nid),
	CONSTRAINT fk_stanza_ids_room FOREIGN KEY(room) REFERENCES rooms (nid) ON DELETE CASCADE
);

CREATE TABLE to_device (
	position BIGINT NOT NULL,
	device BIGINT NOT NULL,
	sender BIGINT NOT NULL,
	type VARCHAR COLLATE "C" NOT NULL,
	content BYTEA NOT NULL,
	CONSTRAINT pk_to_device PRIMARY KEY (position),
	CONSTRAINT fk_to_device_device FOREIGN KEY(device) REFERENCES devices (nid) ON DELETE CASCADE,
	CONSTRAINT fk_to_device_sender FOREIGN KEY(sender) REFERENCES users (nid)
);

ALTER TABLE rooms ADD CONSTRAINT fk_rooms_snapshot FOREIGN KEY(snapshot) REFERENCES snapshots (nid);

CREATE INDEX ix_access_tokens_device ON access_tokens (device);

CREATE INDEX ix_account_data_user_account_data_position ON account_data ("user", position);

CREATE INDEX ix_aliases_room ON aliases (room);

CREATE INDEX ix_awaited_events_by ON awaited_events (by);

CREATE INDEX ix_awaited_events_snapshot ON awaited_events (snapshot);

CREATE INDEX ix_client_transactions_created_at ON client_transactions (created_at);

CREATE INDEX ix_client_transactions_event ON client_transactions (event);

CREATE INDEX ix_destination_set_members_destination_destination_set__efb0 ON destination_set_members (destination, set);

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

CREATE INDEX ix_memberships_user_memberships_membership ON memberships ("user", membership);

CREATE INDEX ix_one_time_keys_device_one_time_keys_algorithm_one_tim_2aea ON one_time_keys (device, algorithm, position);

CREATE INDEX ix_openid_tokens_expires_at ON openid_tokens (expires_at);

CREATE INDEX ix_outbox_destinations_outbox_position ON outbox (destinations, position);

CREATE INDEX ix_outbox_event ON outbox (event);

CREATE INDEX ix_pep_items_node_pep_items_nid ON pep_items (node, nid);

CREATE INDEX ix_receipts_room_receipts_position ON receipts (room, position);

CREATE INDEX ix_receipts_user_receipts_position ON receipts ("user", position);

CREATE INDEX ix_received_messages_received_at ON received_messages (received_at);

CREATE INDEX ix_refresh_tokens_device ON refresh_tokens (device);

CREATE INDEX ix_relations_room_relations_parent_relations_rel_type_r_9f58 ON relations (room, parent, rel_type, place);

CREATE INDEX ix_relations_room_relations_rel_type_relations_place ON relations (room, rel_type, place);

CREATE INDEX ix_room_account_data_room ON room_account_data (room);

CREATE INDEX ix_room_account_data_user_room_account_data_position ON room_account_data ("user", position);

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
