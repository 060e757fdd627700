"""A local Vault that can be broken on purpose, and a suite that judges whether a client survives it."""
