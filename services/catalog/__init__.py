"""The catalogue: which models there are, their versions, inputs and published figures."""
