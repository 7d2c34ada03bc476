"""What the service does: estimate requests, and keep receipts of renders."""
