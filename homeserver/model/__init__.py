"""The nouns: what the server keeps and talks about, as plain frozen values."""
