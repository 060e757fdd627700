# Django, its Celery worker and its Celery beat.
path "ecommerce/data/backend/*" {
  capabilities = ["read"]
}

path "ecommerce/metadata/backend/*" {
  capabilities = ["read", "list"]
}

# Payment, object storage, mail and error reports are shared; models' keys (ai/) are not.
path "ecommerce/data/shared/*" {
  capabilities = ["read"]
}

path "ecommerce/metadata/shared/*" {
  capabilities = ["read", "list"]
}
