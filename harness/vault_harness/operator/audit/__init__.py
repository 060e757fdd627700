"""The audit log, and what roles and policies allow beyond use."""

from vault_harness.operator.audit.entry import (
    STATUSES,
    AuditEntry,
    Filter,
    Status,
    entries,
    parse_line,
)
from vault_harness.operator.audit.joined import (
    follow_joined,
    hashes_of_roles,
    joined_entries,
    last_joined,
    policies_of,
    report,
    roles_of,
)
from vault_harness.operator.audit.log import follow_entries, last_entries, read_lines
from vault_harness.operator.audit.reports import AuditReport, Proposal, RoleUse, narrow, summarise

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
