"""Following the audit log, and learning from it who needs less than they may do."""

from vault_harness.vault.audit._gather import hashes_of_roles, policies_of, report, roles_of
from vault_harness.vault.audit._log import (
    STATUSES,
    Entry,
    Filter,
    Status,
    entries,
    follow,
    last_lines,
    parse_line,
    read_lines,
)
from vault_harness.vault.audit._report import AuditReport, Proposal, RoleUse, narrow, summarise

__all__ = [
    "Entry",
    "Filter",
    "Status",
    "STATUSES",
    "parse_line",
    "entries",
    "read_lines",
    "last_lines",
    "follow",
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
