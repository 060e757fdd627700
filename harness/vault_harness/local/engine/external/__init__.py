"""A Vault that already runs elsewhere. It is never started, stopped or paused."""
