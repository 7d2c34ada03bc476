"""Demo models: a small world drawn by code, models of the real architectures trained on it, and how they are judged."""
