"""Encrypted backups of a Vault and of its keys, restoring them, and exercising that."""

from vault_harness.vault.backup._acting import TokensEnded
from vault_harness.vault.backup._contents import Comparison, Contents, compare, take_contents
from vault_harness.vault.backup._drill import Copy, DrillReport, drill
from vault_harness.vault.backup._files import (
    KEYRING,
    SNAPSHOT,
    Backup,
    Keys,
    check_snapshot,
    check_vault,
    list_backups,
    newest,
    open_keys_file,
)
from vault_harness.vault.backup._keys import (
    KeysRestored,
    SealKeyRestored,
    restore_keys,
    restore_seal_key,
)
from vault_harness.vault.backup._lock import (
    PASSPHRASE_VARIABLE,
    Lock,
    Opener,
    lock_from,
    new_identity,
    opener_from,
)
from vault_harness.vault.backup._make import (
    backup_keys,
    backup_name,
    cluster_id,
    make_backup,
)
from vault_harness.vault.backup._rehearsal import rehearse
from vault_harness.vault.backup._restore import Restored, put_in, restore
from vault_harness.vault.backup._write import write_backup
from vault_harness.vault.keyring import keyring_on_the_way

__all__ = [
    "make_backup",
    "backup_keys",
    "restore",
    "keyring_on_the_way",
    "rehearse",
    "restore_keys",
    "restore_seal_key",
    "SealKeyRestored",
    "Restored",
    "TokensEnded",
    "put_in",
    "KeysRestored",
    "Backup",
    "SNAPSHOT",
    "KEYRING",
    "write_backup",
    "backup_name",
    "cluster_id",
    "newest",
    "open_keys_file",
    "Keys",
    "list_backups",
    "check_snapshot",
    "check_vault",
    "Contents",
    "Comparison",
    "take_contents",
    "compare",
    "Lock",
    "Opener",
    "lock_from",
    "opener_from",
    "new_identity",
    "PASSPHRASE_VARIABLE",
    "drill",
    "Copy",
    "DrillReport",
]
