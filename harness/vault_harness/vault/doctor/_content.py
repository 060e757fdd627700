"""Mounts, policies, audit devices and secrets, against the blueprint."""

from __future__ import annotations

from vault_harness.commands import named
from vault_harness.errors import HarnessError
from vault_harness.vault.doctor._finding import Examination, Patient
from vault_harness.vault.kv import Kv, SecretVersion
from vault_harness.vault.operator import Operator


def check_mounts(patient: Patient, found: Examination, op: Operator) -> set[str]:
    """KV mounts of the blueprint, and the one that the environment names. Returns the good ones."""
    present = op.request("GET", "sys/mounts").get("data", {})
    good = set()
    for mount in patient.blueprint.mounts:
        engine = present.get(f"{mount}/")
        where = f"sys/mounts: {mount}/"
        version = str((engine or {}).get("options", {}) and engine["options"].get("version"))
        if engine is None:
            found.bad("mount", where, f"there is no mount {mount}/", named("seed"))
        elif engine.get("type") != "kv" or version != "2":
            wrong = f"{mount}/ is {engine.get('type')} version {version}, not KV version 2"
            remedy = f"{named('vault', '--', 'secrets', 'disable', mount)}, then {named('seed')}"
            found.bad("mount", where, wrong, remedy)
        else:
            found.good("mount", where, "it is there, KV version 2")
            good.add(mount)
    wanted = patient.environ.get("VAULT_MOUNT_POINT", "").strip("/")
    if wanted and f"{wanted}/" not in present:
        kv = ", ".join(sorted(m.rstrip("/") for m, e in present.items() if e.get("type") == "kv"))
        wrong = (
            f"clients here look in {wanted}/, which does not exist; there is {kv or 'no KV mount'}"
        )
        right = patient.blueprint.mount
        found.bad("mount", "VAULT_MOUNT_POINT", wrong, f"export VAULT_MOUNT_POINT={right}")
    return good


def check_audit(found: Examination, op: Operator) -> None:
    """At least one audit device."""
    try:
        devices = op.request("GET", "sys/audit").get("data", {})
    except HarnessError as error:
        found.unknown("audit", "sys/audit", error.cause)
        return
    if devices:
        found.good("audit", "sys/audit", f"written by {', '.join(sorted(devices))}")
    else:
        found.bad("audit", "sys/audit", "nobody writes down who reads what", named("seed"))


def check_policies(patient: Patient, found: Examination, op: Operator) -> None:
    """Policies of the blueprint: there, and as the blueprint has them."""
    keys = op.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    for name, policy in patient.blueprint.policies.items():
        where = f"sys/policies/acl/{name}"
        if name not in keys:
            wrong = f"there is no policy {name}: its roles may read nothing"
            found.bad(f"policy {name}", where, wrong, named("seed"))
            continue
        text = str(op.request("GET", where).get("data", {}).get("policy", ""))
        if text.strip() != policy.rules.strip():
            wrong = "it differs from the blueprint's"
            found.bad(f"policy {name}", where, wrong, named("seed", "--overwrite"))
        else:
            found.good(f"policy {name}", where, "it is the blueprint's")


def check_secrets(patient: Patient, found: Examination, op: Operator, mounts: set[str]) -> None:
    """Every secret of the blueprint: there, readable, with its keys."""
    for mount, path, values in patient.blueprint.paths():
        if mount not in mounts:
            continue
        where = f"{mount}/{path}"
        try:
            secret = Kv(op, mount).read(path)
        except HarnessError as error:
            found.unknown(f"secret {where}", where, error.cause)
            continue
        _judge(found, where, secret, set(values))


def _judge(found: Examination, where: str, secret: SecretVersion, wanted: set[str]) -> None:
    name, version = f"secret {where}", secret.version
    if secret.state == "missing":
        found.bad(name, where, "there is no such secret", named("seed"))
    elif secret.state == "deleted":
        remedy = named("vault", "--", "kv", "undelete", f"-versions={version}", where)
        found.bad(name, where, f"its latest version, {version}, is deleted", remedy)
    elif secret.state == "destroyed":
        wrong = f"its latest version, {version}, is destroyed and cannot come back"
        found.bad(name, where, wrong, named("seed"))
    elif lacking := sorted(wanted - set(secret.data)):
        found.bad(name, where, f"it has no {', '.join(lacking)}", named("seed"))
    else:
        found.good(name, where, f"version {version} is there")
