"""The recorder: reads what passes between a client and Vault, and keeps the history."""
