"""Policy servers of rooms: https://spec.matrix.org/v1.19/server-server-api/#policy-servers.

* `recommendations`: inside a write: which policy server a room has, what it has said about an event, and `Unsigned`,
  which undoes the write where it has not been asked yet.
* `asking`: outside: asks, and writes again with the answers.
* `own`: being one: this server's key, and its word. `rules` and `lists`: what it refuses. `signing`: who may ask it.
"""
