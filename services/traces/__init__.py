"""The span store: what the platform's own parts tell of what they do, kept for a while."""
