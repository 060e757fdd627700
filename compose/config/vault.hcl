# HashiCorp Vault only. Its audit device is made over the API (`invoke seed` does it).

# Raft wants this said, one way or the other. The compose file gives IPC_LOCK, so memory can be locked.
disable_mlock = false
