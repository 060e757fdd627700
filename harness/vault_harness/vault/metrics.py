"""A server's own numbers, from the metrics that it gives without a token, sealed too."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import requests

from vault_harness.certificates import shown_beside
from vault_harness.vault._connection import is_here

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_PATH = "/v1/sys/metrics"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What is worth a look. None: the server did not say.

    Attributes:
        unsealed: Whether it is unsealed.
        leader: Whether it is active; never while it is sealed, though Vault's gauge goes on.
        leases: Leases that it keeps, those of tokens too.
        tokens: Tokens made since the server started.
        failed_logins: Logins refused since the server started.
        in_flight: Requests that are inside at this moment.
        unaudited: Requests and responses that the audit log could not take.
    """

    unsealed: bool | None = None
    leader: bool | None = None
    leases: int | None = None
    tokens: int | None = None
    failed_logins: int | None = None
    in_flight: int | None = None
    unaudited: int | None = None


def parse(text: str) -> Numbers:
    """The numbers of a text in Prometheus' format; lines that are not of it are passed over."""
    samples: dict[str, list[tuple[str, float]]] = {}
    for line in text.splitlines():
        if found := _SAMPLE.match(line):
            with contextlib.suppress(ValueError):  # a page of two words: "access denied"
                value = float(found["value"])
                if math.isfinite(value):  # a quantile of nothing is NaN
                    samples.setdefault(found["name"], []).append((found["labels"] or "", value))

    def highest(name: str) -> int | None:
        values = [value for _, value in samples.get(name, ())]
        return int(max(values)) if values else None

    def total(name: str, *, without: str = "") -> int:
        return int(
            sum(v for labels, v in samples.get(name, ()) if not without or without not in labels)
        )

    # The series without a cluster's name stays 0.
    unsealed, active = highest("vault_core_unsealed"), highest("vault_core_active")
    if unsealed is None:
        return Numbers()
    # A token's making is counted before the login that it is for.
    logins = total("vault_core_handle_login_request_count")
    good = total("vault_token_creation", without='auth_method="token"')
    failures = ("vault_audit_log_request_failure", "vault_audit_log_response_failure")
    return Numbers(
        unsealed=bool(unsealed),
        leader=bool(active and unsealed),
        leases=highest("vault_expire_num_leases"),
        tokens=total("vault_token_creation"),
        failed_logins=max(0, logins - good),
        in_flight=highest("vault_core_in_flight_requests"),
        unaudited=sum(map(total, failures)),
    )


def numbers(address: str, *, ca_cert: Path | None = None, timeout: float = 2.0) -> Numbers:
    """The numbers of a server; nothing but None if it does not answer, or not with metrics.

    Args:
        address: Its base URL.
        ca_cert: For https.
        timeout: Seconds.
    """
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
