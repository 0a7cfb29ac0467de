"""Carries the law between servers: discovery, signed requests, keys, transactions. What it needs is in `ports`."""
