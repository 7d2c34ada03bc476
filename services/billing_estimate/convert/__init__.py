"""Between the contract's messages and the nouns of estimates and receipts."""
