"""Accounts: API keys, and the guard of the edge."""
