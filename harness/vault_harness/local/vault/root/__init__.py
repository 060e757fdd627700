"""Work without the root token: make an operator's token, revoke root, and make it again."""
