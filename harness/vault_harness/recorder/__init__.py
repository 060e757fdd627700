"""Record the requests between a client and Vault, and keep the history."""
