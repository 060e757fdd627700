"""The judge: turns a client into a verdict."""
