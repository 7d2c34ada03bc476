"""A whole installation on a virtual clock, and somebody who breaks it. docs/simulation.md says how to use it."""
