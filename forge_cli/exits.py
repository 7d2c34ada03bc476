"""What a command's exit status says; docs/cli.md has the table."""

FAILED = 1
"""The API said no, what was asked for did not come, or something on this machine is in the way."""
MISUSED = 2
"""The command was called wrongly; nothing was done."""
PAUSED = 3
"""A render has paused as asked: nothing is wrong, but there is no video yet."""
INTERRUPTED = 130
"""Ctrl-C."""
