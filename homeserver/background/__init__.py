"""Loops that no request starts."""
