# What the day's work needs once the root token is revoked: secrets, secret-ids, backups, looking.
# Not in it: mounts, policies and roles themselves. For those, `invoke root.generate` makes a root token for a while.
# MOUNT stands for each KV mount of the blueprint.

path "MOUNT/data/*" {
  capabilities = ["create", "read", "update", "patch", "delete"]
}

path "MOUNT/metadata/*" {
  capabilities = ["read", "list", "update", "delete"]
}

path "MOUNT/metadata" {
  capabilities = ["list"]
}

path "MOUNT/delete/*" {
  capabilities = ["update"]
}

path "MOUNT/undelete/*" {
  capabilities = ["update"]
}

path "MOUNT/destroy/*" {
  capabilities = ["update"]
}

path "MOUNT/config" {
  capabilities = ["read"]
}

path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/internal/ui/mounts/*" {
  capabilities = ["read"]
}

path "sys/auth" {
  capabilities = ["read"]
}

path "sys/policies/acl" {
  capabilities = ["list"]
}

path "sys/policies/acl/*" {
  capabilities = ["read"]
}

path "sys/audit" {
  capabilities = ["read", "sudo"]
}

path "sys/audit-hash/*" {
  capabilities = ["update"]
}

path "auth/approle/role" {
  capabilities = ["list"]
}

path "auth/approle/role/+" {
  capabilities = ["read"]
}

path "auth/approle/role/+/role-id" {
  capabilities = ["read"]
}

path "auth/approle/role/+/secret-id" {
  capabilities = ["create", "update", "list"]
}

path "auth/approle/role/+/secret-id/lookup" {
  capabilities = ["update"]
}

path "auth/approle/role/+/secret-id-accessor/+" {
  # lookup and destroy
  capabilities = ["update"]
}

path "sys/locked-users" {
  capabilities = ["read"]
}

path "sys/locked-users/*" {
  capabilities = ["update"]
}

path "sys/storage/raft/snapshot" {
  capabilities = ["read"]
}

path "sys/storage/raft/configuration" {
  capabilities = ["read"]
}

# How many tokens live, and whether one of them is root: `invoke doctor --production`, `invoke watch`.
path "auth/token/accessors" {
  capabilities = ["list", "sudo"]
}

path "auth/token/lookup-accessor" {
  capabilities = ["update"]
}

path "sys/config/state/sanitized" {
  capabilities = ["read"]
}

path "sys/storage/raft/autopilot/*" {
  capabilities = ["read", "create", "update"]
}

path "sys/storage/raft/remove-peer" {
  capabilities = ["create", "update"]
}

path "sys/step-down" {
  capabilities = ["create", "update", "sudo"]
}

path "sys/seal" {
  capabilities = ["update", "sudo"]
}

# OpenBao 2.6 and newer ask for a token here, beside the unseal keys; HashiCorp Vault asks for the keys only.
path "sys/generate-root-token/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}
