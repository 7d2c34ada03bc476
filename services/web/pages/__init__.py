"""One file per page: ask the contract, show the answer."""
