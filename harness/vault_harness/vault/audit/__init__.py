"""Following the audit log, and learning from it who needs less than they may do."""

from vault_harness.vault.audit._entry import (
    STATUSES,
    AuditEntry,
    Filter,
    Status,
    entries,
    parse_line,
)
from vault_harness.vault.audit._gather import hashes_of_roles, policies_of, report, roles_of
from vault_harness.vault.audit._joined import follow_joined, joined_entries, last_joined
from vault_harness.vault.audit._log import follow_entries, last_entries, read_lines
from vault_harness.vault.audit._report import AuditReport, Proposal, RoleUse, narrow, summarise

__all__ = [
    "AuditEntry",
    "Filter",
    "Status",
    "STATUSES",
    "parse_line",
    "entries",
    "read_lines",
    "last_entries",
    "follow_entries",
    "joined_entries",
    "last_joined",
    "follow_joined",
    "AuditReport",
    "RoleUse",
    "Proposal",
    "summarise",
    "report",
    "roles_of",
    "policies_of",
    "hashes_of_roles",
    "narrow",
]
