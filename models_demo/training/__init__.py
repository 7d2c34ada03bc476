"""How the demo weights are made."""
