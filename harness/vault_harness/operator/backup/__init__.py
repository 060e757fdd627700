"""Encrypted backups of a Vault and of its keys."""

from vault_harness.local.vault.keyring import unfinished_keyring
from vault_harness.operator.backup.contents import Comparison, Contents, compare, take_contents
from vault_harness.operator.backup.drills import Copy, DrillReport, drill
from vault_harness.operator.backup.files import (
    KEYRING,
    SNAPSHOT,
    Backup,
    Keys,
    Opened,
    check_snapshot,
    check_vault,
    list_backups,
    newest,
    open_keys_file,
)
from vault_harness.operator.backup.keys import (
    KeysRestored,
    SealKeyRestored,
    restore_keys,
    restore_seal_key,
)
from vault_harness.operator.backup.lock import (
    PASSPHRASE_VARIABLE,
    Lock,
    Opener,
    lock_from,
    new_identity,
    opener_from,
)
from vault_harness.operator.backup.make import (
    backup_keys,
    backup_name,
    cluster_id,
    make_backup,
    write_backup,
)
from vault_harness.operator.backup.progress import TokensEnded
from vault_harness.operator.backup.restoring import Restored, put_in, restore

__all__ = [
    "make_backup",
    "backup_keys",
    "restore",
    "unfinished_keyring",
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
    "Opened",
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
