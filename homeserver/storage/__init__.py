"""Memory: SQL and nothing else. Functions take a connection and never commit."""
