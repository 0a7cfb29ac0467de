"""The server-to-server protocol, as a library: it imports nothing of `homeserver`.

Read in this order:

* `federation.core` is the law: pure functions on plain values. Identifiers, canonical JSON, signatures,
  events, authorisation, state resolution. It does no I/O and reads no clock.
* `federation.matrix` carries the law between servers: signed HTTP requests, discovery, keys, transactions.
"""
