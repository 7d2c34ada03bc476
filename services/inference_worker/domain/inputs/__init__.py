"""The inputs of each pipeline, read from what a request holds. All that is wrong is told at once."""
