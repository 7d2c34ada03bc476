"""What a worker does: load a version, run attempts, and know when nobody needs it."""
