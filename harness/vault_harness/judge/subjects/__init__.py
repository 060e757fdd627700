"""Clients under test, in any language, behind one interface."""

from vault_harness.judge.subjects.inprocess import InProcessSubject
from vault_harness.judge.subjects.process import make_home
from vault_harness.judge.subjects.protocol import Subject
from vault_harness.judge.subjects.shape import (
    CAPABILITIES,
    DECLARATIONS,
    OUTCOMES,
    Credential,
    OperationFailed,
    Reading,
    SecretNotServed,
    SubjectHung,
    SubjectSpec,
    Terminable,
    Whole,
)
from vault_harness.judge.subjects.spec import check_subject, open_subject, parse_subject

__all__ = [
    "Subject",
    "SubjectSpec",
    "Terminable",
    "InProcessSubject",
    "parse_subject",
    "check_subject",
    "open_subject",
    "make_home",
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
