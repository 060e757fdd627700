"""What a scenario asks of Vault and of the client beside its callers."""

from __future__ import annotations

from secrets import token_hex

from vault_harness.scenario.lab import Lab
from vault_harness.vault import Operator, approle


def turns(lab: Lab, *, well: bool, within: float, every: float = 0.3) -> bool:
    """Ask the subject for its health until it says so, or for so many seconds; whether it did."""
    began = lab.history.now()
    while lab.client.healthy() != well:
        now = lab.history.now()
        if now > began + within + lab.history.slack(began, now):
            return False
        lab.watch(every)
    return True


def allow_writes(lab: Lab, path: str) -> None:
    """Let tokens that the role gets from now on write one secret, and see which version it has."""
    client = lab.operator.client
    may = '["create", "update", "patch", "read"]'
    rules = f'path "{lab.entry.mount}/data/{path}" {{ capabilities = {may} }}\n'
    rules += f'path "{lab.entry.mount}/metadata/{path}" {{ capabilities = ["read"] }}'
    client.sys.create_or_update_policy("scenario-writer", rules)
    address = f"/v1/auth/approle/role/{lab.entry.approle}"
    role = client.adapter.get(address)["data"]
    policies = [*role["token_policies"], "scenario-writer"]
    client.adapter.post(address, json={"token_policies": policies})


def canary(lab: Lab) -> str:
    """A value for the subject to write; it must come out no more than one that it reads."""
    value = f"canary-written-{token_hex(16)}"
    lab.secrets.add("written", value)
    return value


def version_of(lab: Lab, path: str, *, at: Operator | None = None) -> int:
    """The number of a secret's latest version, as one node has it; 0 if there is none."""
    answer = (at or lab.operator).client.adapter.request(
        "GET", f"/v1/{lab.entry.mount}/metadata/{path}", raise_exception=False
    )
    data = answer.get("data") if isinstance(answer, dict) else None
    return int(data["current_version"]) if data else 0


def lockout(lab: Lab) -> set[str]:
    """The subject's role, in words, if failed logins have locked it for everybody."""
    locked = approle.locked(lab.operator)
    role = lab.entry.approle
    return {f"{role} is in sys/locked-users" for found in locked if found.role_id == lab.role_id}
