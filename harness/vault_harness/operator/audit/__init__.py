"""The audit log, and what roles and policies allow beyond use."""

from vault_harness.operator.audit.joined import follow_joined, joined_entries, last_joined
from vault_harness.operator.audit.log import STATUSES, AuditEntry, Filter
from vault_harness.operator.audit.reports import (
    AuditReport,
    Proposal,
    hashes_of_roles,
    policies_of,
    report,
)

__all__ = [
    "AuditEntry",
    "Filter",
    "STATUSES",
    "joined_entries",
    "last_joined",
    "follow_joined",
    "AuditReport",
    "Proposal",
    "report",
    "policies_of",
    "hashes_of_roles",
]
