# The gateway in front of all services: its own keys, and the address for error reports.
path "ecommerce/data/gateway/*" {
  capabilities = ["read"]
}

path "ecommerce/metadata/gateway/*" {
  capabilities = ["read", "list"]
}

path "ecommerce/data/shared/monitoring" {
  capabilities = ["read"]
}
