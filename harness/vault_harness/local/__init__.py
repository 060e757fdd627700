"""A Vault on this machine: engines, the stack, Toxiproxy, and what a Vault must contain."""
