"""The scheduler: accepts renders, places them on runtimes, and keeps their logs."""
