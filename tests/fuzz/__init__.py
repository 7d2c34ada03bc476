"""Parsers of what strangers send, fed with bytes: each may refuse them, in its own words, and do nothing else."""
