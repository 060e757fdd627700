"""Clients under test, in any language, behind one shape; see ``docs/subjects.md``."""

from vault_harness.subjects._inprocess import InProcessSubject
from vault_harness.subjects._open import check_subject, open_subject
from vault_harness.subjects._shape import (
    CAPABILITIES,
    DECLARATIONS,
    OUTCOMES,
    Credential,
    OperationFailed,
    Reading,
    SecretNotServed,
    Subject,
    SubjectHung,
    SubjectSpec,
    Terminable,
    Whole,
)
from vault_harness.subjects._spec import parse_subject

__all__ = [
    "Subject",
    "SubjectSpec",
    "Terminable",
    "InProcessSubject",
    "parse_subject",
    "check_subject",
    "open_subject",
    "Reading",
    "Credential",
    "Whole",
    "OperationFailed",
    "SubjectHung",
    "SecretNotServed",
    "CAPABILITIES",
    "DECLARATIONS",
    "OUTCOMES",
]
