"""The law: what every server of a room must decide alike. Pure, synchronous, silent.

In reading order:

* `errors`, `ids`, `canonical_json`, `unpadded_base64`: the words of the language.
* `room_versions`: the twelve dialects, as data. Nothing else compares room versions.
* `signing`, `hashing`: what makes an event the sender's, and what names it.
* `events`: an event from the wire (`pdu`, `format`), of our own making (`draft`), stripped (`redaction`),
  and what its content says (`content`).
* `auth`, `state`: who may do what, and what holds where branches meet.
* `acl`: which servers a room refuses.
* `discovery`, `server_keys`, `request_auth`: where a server is, which keys it has, and that a request is its own.

Values go in, values come out; what is against the protocol is raised as a `ProtocolError`.
"""
