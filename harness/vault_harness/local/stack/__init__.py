"""A Vault with keys and content: for one scenario, or as the stack of ``invoke up``."""
