# The server of `invoke up` in a container, for both products; <flavour>.hcl beside it has the rest.

storage "raft" {
  path    = "/vault/file"
  node_id = "vault"

  # The default of 5 is for slow networks; one node elects itself, and waits that much longer for it.
  performance_multiplier = 1
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_disable     = true
}

# api_addr is VAULT_API_ADDR of the compose file: the published port is not known here.
cluster_addr = "http://vault:8201"
ui           = false
