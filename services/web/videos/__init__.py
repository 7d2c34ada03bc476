"""The Videos dialect: the protocol that many clients speak, over the same renders."""
