"""Between the scheduler's words and the contract's messages."""
