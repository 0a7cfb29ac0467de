"""Measures what a server costs: `make bench`, or `python -m benchmarks --help`."""
