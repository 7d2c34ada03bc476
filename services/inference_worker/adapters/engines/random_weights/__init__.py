"""Random weights: the real architectures, narrow, made here without a download."""
