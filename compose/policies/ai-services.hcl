# Recommendations, search and chat: model providers' keys, object storage, error reports.
path "ecommerce/data/ai/*" {
  capabilities = ["read"]
}

path "ecommerce/metadata/ai/*" {
  capabilities = ["read", "list"]
}

path "ecommerce/data/shared/aws" {
  capabilities = ["read"]
}

path "ecommerce/data/shared/monitoring" {
  capabilities = ["read"]
}
