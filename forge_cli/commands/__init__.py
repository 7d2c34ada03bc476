"""The commands of `forge`, one file per group."""
