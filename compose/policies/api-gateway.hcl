# The gateway in front of everything: its own keys, and where to report errors.
path "ecommerce/data/gateway/*" {
  capabilities = ["read"]
}

path "ecommerce/metadata/gateway/*" {
  capabilities = ["read", "list"]
}

path "ecommerce/data/shared/monitoring" {
  capabilities = ["read"]
}
