"""Read a server's metrics, which need no token, even while it is sealed."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import requests

from vault_harness.certificates import shown_beside
from vault_harness.local.vault.connection import is_here

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_PATH = "/v1/sys/metrics"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The useful metrics of a server; None if it does not report one.

    Attributes:
        leader: False while it is sealed, although Vault's gauge stays on.
        tokens: Made since the server started.
        unaudited: Requests and responses that the audit log could not take.
    """

    unsealed: bool | None = None
    leader: bool | None = None
    leases: int | None = None
    tokens: int | None = None
    in_flight: int | None = None
    unaudited: int | None = None


def parse(text: str) -> Numbers:
    samples: dict[str, list[tuple[str, float]]] = {}
    for line in text.splitlines():
        if found := _SAMPLE.match(line):
            with contextlib.suppress(ValueError):  # a page such as "access denied" also matches
                value = float(found["value"])
                if math.isfinite(value):  # a quantile without samples is NaN
                    samples.setdefault(found["name"], []).append((found["labels"] or "", value))

    def highest(name: str) -> int | None:
        values = [value for _, value in samples.get(name, ())]
        return int(max(values)) if values else None

    def total(name: str) -> int:
        return int(sum(value for _, value in samples.get(name, ())))

    seals = samples.get("vault_core_unsealed", ())
    if not seals:
        return Numbers()
    # A node that has led has a series with the cluster's name; the one without keeps its old value.
    named = [value for labels, value in seals if 'cluster=""' not in labels]
    unsealed = max(named or [value for _, value in seals])
    active = highest("vault_core_active")
    failures = ("vault_audit_log_request_failure", "vault_audit_log_response_failure")
    return Numbers(
        unsealed=bool(unsealed),
        leader=bool(active and unsealed),
        leases=highest("vault_expire_num_leases"),
        tokens=total("vault_token_creation"),
        in_flight=highest("vault_core_in_flight_requests"),
        unaudited=sum(map(total, failures)),
    )


def numbers(address: str, *, ca_cert: Path | None = None, timeout: float = 2.0) -> Numbers:
    """Fetch a server's metrics; all None if it answers with none."""
    verify = str(ca_cert) if ca_cert is not None else True
    own = shown_beside(ca_cert)
    with requests.Session() as session:
        session.trust_env = not is_here(address)
        try:
            answer = session.get(
                address + _PATH,
                params={"format": "prometheus"},
                timeout=timeout,
                verify=verify,
                cert=str(own) if own is not None else None,
            )
        except requests.RequestException:
            return Numbers()
    return parse(answer.text) if answer.status_code == 200 else Numbers()
