"""A local Vault that can be broken on purpose, and a judge of the clients that must survive it."""
