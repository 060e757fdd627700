# OpenBao only: it locks no memory, and knows audit devices from its configuration alone.

audit "file" "file" {
  description = "vault-data/audit/audit.log on the host"
  options = {
    file_path = "/vault/logs/audit.log"

    # Readable by whoever may enter vault-data, which is its owner (0700). Values in it are hashed.
    mode = "0644"
  }
}
