"""Nouns and rules of the scheduler. Standard library only."""
