"""Requests that nobody should send, made up from a seed, and what a platform makes of them."""
