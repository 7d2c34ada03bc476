"""Between the contract's messages and the catalogue's nouns."""
