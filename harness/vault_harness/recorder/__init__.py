"""Record the requests between a client and Vault."""
