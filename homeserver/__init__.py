"""Isthmus: one homeserver for Matrix and XMPP."""
