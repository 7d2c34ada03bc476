"""Rules of prices, estimates and receipts. Standard library only."""
