"""Numbered, forward-only changes of the schema. A fresh database is made from the newest schema at once."""
