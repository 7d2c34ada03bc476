"""The worker's nouns and rules: versions, attempts, inputs, windows and progress."""
