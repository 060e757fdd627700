"""A local Vault that can be broken on purpose, and judges of clients that must survive it."""
