"""One Vault over its API: initialise, unseal, apply blueprints, manage AppRoles and secrets."""
