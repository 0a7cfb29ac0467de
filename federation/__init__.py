"""Server-to-server protocol. Imports nothing of `homeserver`."""
