"""The inference worker: one process, one device, one version; it makes the videos."""
