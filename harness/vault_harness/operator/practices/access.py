"""Practices about who may do what, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from vault_harness.errors import HarnessError, OperatorError, named
from vault_harness.local import policy
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.approle import DEFAULT_MOUNT
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.audit import policies_of, report
from vault_harness.operator.doctor.check import CheckResult, Deployment, bad, good, unknown

SECRET_ID_LIFE = timedelta(days=90)

MOST_SECRET_IDS = 2000
"""Above this, secret-ids are not looked up one by one."""

TOKEN_LIFE, TOKEN_LONGEST = timedelta(hours=1), timedelta(days=1)
"""Until it is renewed, and in total."""

VALUE_AGE = timedelta(days=90)

LOG_LENGTH = timedelta(days=1)
"""An audit log must cover this before an unused right counts as too much."""

_APPROLE, _KV = "approle", "kv"


def _roles(deployment: Deployment) -> Iterator[tuple[str, dict[str, Any]]]:
    op = deployment.operator
    for mount, settings in sorted((op.request("GET", "sys/auth").get("data") or {}).items()):
        if settings.get("type") != _APPROLE:
            continue
        path = f"auth/{mount.rstrip('/')}/role"
        for role in op.request("LIST", path).get("data", {}).get("keys") or []:
            yield f"{path}/{role}", op.request("GET", f"{path}/{role}").get("data") or {}


def secret_ids(deployment: Deployment) -> CheckResult:
    name, where = "secret-ids", "auth/approle/role, secret_id_ttl of each"
    roles = list(_roles(deployment))
    if not roles:
        return unknown(name, where, "there is no AppRole")
    endless = [path for path, role in roles if not role.get("secret_id_ttl")]
    long = [
        path
        for path, role in roles
        if int(role.get("secret_id_ttl") or 0) > _seconds(SECRET_ID_LIFE)
    ]
    if not endless and not long:
        return _present(deployment, name, roles)
    role = (endless or long)[0]
    seen = f"those of {role} never end" if endless else f"those of {role} live too long"
    days = f"secret_id_ttl={_seconds(SECRET_ID_LIFE)}"
    return bad(name, where, seen, named("vault", "--", "write", role, days))


def _present(
    deployment: Deployment, name: str, roles: list[tuple[str, dict[str, Any]]]
) -> CheckResult:
    """Check each present one, since a role's setting applies only to ids made after it."""
    where = "auth/approle/role, each secret-id of each by its accessor"
    op, count = deployment.operator, 0
    for path, _ in roles:
        present = _accessors(op, path)
        count += len(present)
        if count > MOST_SECRET_IDS:
            seen = "there are too many to look up one by one; those made from now on end"
            return unknown(name, where, seen)
        lives = {accessor: _life_of(op, path, accessor) for accessor in present}
        endless = [accessor for accessor, life in lives.items() if life is None]
        long = [a for a, life in lives.items() if life is not None and life > SECRET_ID_LIFE]
        if endless or long:
            wrong, what = (endless, "never end") if endless else (long, "live too long")
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            seen = f"some of {path} {what}, made before its secret_id_ttl: accessor {wrong[0]}"
            return bad(name, where, seen + more, _command_to_end(path, wrong[0]))
    return good(name, where, f"all of {_count(roles)} end within {SECRET_ID_LIFE.days} days")


def _accessors(op: VaultAdmin, path: str) -> list[str]:
    found = op.request("LIST", f"{path}/secret-id").get("data") or {}
    return [str(accessor) for accessor in found.get("keys") or []]


def _life_of(op: VaultAdmin, path: str, accessor: str) -> timedelta | None:
    """Return the whole life of a secret-id; None if it never ends."""
    try:
        answer = op.request(
            "POST", f"{path}/secret-id-accessor/lookup", secret_id_accessor=accessor
        )
    except OperatorError:
        if accessor in _accessors(op, path):
            raise
        return timedelta()  # it ended meanwhile
    data = answer.get("data") or {}
    made, end = (_moment(str(data.get(f"{each}_time"))) for each in ("creation", "expiration"))
    if made is None or end is None or end < made:  # year 1 means no end
        return None
    return end - made


def _command_to_end(path: str, accessor: str) -> str:
    """Return the command that ends a secret-id; the task knows only the default mount."""
    mount, _, role = path.removeprefix("auth/").partition("/role/")
    if mount == DEFAULT_MOUNT:
        command = named("rotate.secret-id", role, "--end-others")
    else:
        where, which = f"{path}/secret-id-accessor/destroy", f"secret_id_accessor={accessor}"
        command = named("vault", "--", "write", where, which)
    return f"once its services elsewhere have a new one: {command}"


def tokens(deployment: Deployment) -> CheckResult:
    """Check that tokens of services are short-lived and renewable, and end."""
    name, where = "token lives", "auth/approle/role, token_ttl and token_max_ttl of each"
    roles = list(_roles(deployment))
    if not roles:
        return unknown(name, where, "there is no AppRole")
    for path, role in roles:
        ttl, longest = int(role.get("token_ttl") or 0), int(role.get("token_max_ttl") or 0)
        hour = f"token_ttl={_seconds(TOKEN_LIFE)}"
        day = f"token_max_ttl={_seconds(TOKEN_LONGEST)}"
        if role.get("token_period"):
            seen, mend = f"{path}: token_period lets a token be renewed forever", "token_period=0"
        elif not 0 < (ttl or longest) <= _seconds(TOKEN_LIFE):
            unset = f"not set, so that it is token_max_ttl: {longest} s" if longest else _life(0)
            seen, mend = f"{path}: token_ttl is {_life(ttl) if ttl else unset}", hour
        elif not 0 < longest <= _seconds(TOKEN_LONGEST):
            seen, mend = f"{path}: token_max_ttl is {_life(longest)}", day
        else:
            continue
        return bad(name, where, seen, named("vault", "--", "write", path, mend))
    return good(name, where, f"those of {_count(roles)} live an hour at most, and end within a day")


def policies(deployment: Deployment) -> CheckResult:
    name, where = "policies", "sys/policies/acl of each role"
    texts = policies_of(deployment.operator)
    held = {each for _, role in _roles(deployment) for each in role.get("token_policies") or ()}
    for policy_name in sorted(held & set(texts)):
        try:
            rules = policy.parse(texts[policy_name])
        except policy.PolicyError as error:
            return unknown(name, f"sys/policies/acl/{policy_name}", str(error))
        for rule in rules:
            if rule.path in ("*", "+/*") or "sudo" in rule.capabilities:
                what = "sudo" if "sudo" in rule.capabilities else "everything"
                seen = f"{policy_name} grants {what} on {rule.path!r}"
                return bad(name, where, seen, f"narrow it: {named('audit.report')}")
    if "root" in held:
        return bad(name, where, "an AppRole has the policy root", "give it one of its own")
    return _used(deployment, name, len(held))


def _used(deployment: Deployment, name: str, count: int) -> CheckResult:
    logs = [log for log in deployment.audit_logs if log.exists()]
    if not logs:
        why = "no right is boundless; the audit log that shows their use is not here"
        remedy = f"{named('audit.report')} --file LOG"
        return unknown(name, "the audit log", why, remedy)
    where = ", ".join(map(str, logs))
    found = report(deployment.operator, logs)
    if found.since is None or found.until is None or found.until - found.since < LOG_LENGTH:
        why = "no right is boundless; the log is too short to show which ones are unused"
        remedy = f"{named('audit.report')}, after a day"
        return unknown(name, where, why, remedy)
    wide = sorted(proposal.policy for proposal in found.proposals)
    if wide:
        seen = f"wider than what was used: {', '.join(wide)}"
        return bad(name, where, seen, f"{named('audit.report')} --write FOLDER")
    return good(name, where, f"{count} policies grant only what was used")


def rotation(deployment: Deployment) -> CheckResult:
    name = "rotation"
    op = deployment.operator
    mounts = op.request("GET", "sys/mounts").get("data") or {}
    kv = [
        mount.rstrip("/")
        for mount, settings in sorted(mounts.items())
        if settings.get("type") == _KV and (settings.get("options") or {}).get("version") == "2"
    ]
    where = ", ".join(f"{mount}/metadata" for mount in kv) or "sys/mounts"
    if not kv:
        return unknown(name, where, "there is no key-value store with versions")
    count, oldest, at = 0, deployment.now, ""
    for mount in kv:
        for path in Kv(op, mount).paths():
            count += 1
            data = op.request("GET", f"{mount}/metadata/{path}").get("data") or {}
            written = _moment(str(data.get("updated_time") or ""))
            if written is not None and written < oldest:
                oldest, at = written, f"{mount}/{path}"
    age = deployment.now - oldest
    if age > VALUE_AGE:
        seen = f"{at} is {age.days} days old"
        return bad(name, where, seen, f"{named('rotate.secrets')} for the paths that it lists")
    return good(name, where, f"none of {count} secrets is older than {VALUE_AGE.days} days")


def lockout(deployment: Deployment) -> CheckResult:
    name = "lockout"
    op = deployment.operator
    try:
        mounts = op.request("GET", "sys/auth").get("data") or {}
    except HarnessError as error:
        return unknown(name, error.looked_at, error.cause)
    off = [
        mount
        for mount, settings in sorted(mounts.items())
        if settings.get("type") == _APPROLE and _lockout_is_off(settings.get("config") or {})
    ]
    if not off:
        return good(name, "sys/auth", "five wrong secret-ids lock a role for 15 minutes")
    mend = named("vault", "--", "auth", "tune", "-user-lockout-disable=false", off[0])
    return bad(name, f"sys/auth/{off[0]}tune", "secret-ids can be guessed without end", mend)


def _lockout_is_off(config: dict[str, Any]) -> bool:
    settings = config.get("user_lockout_config") or {}
    return bool(settings.get("user_lockout_disable") or settings.get("lockout_disable"))


def _seconds(life: timedelta) -> int:
    return int(life.total_seconds())


def _life(seconds: int) -> str:
    return f"{seconds} s" if seconds else "not set, so that it is the server's: 32 days by default"


def _count(roles: list[tuple[str, dict[str, Any]]]) -> str:
    return "one role" if len(roles) == 1 else f"{len(roles)} roles"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    except ValueError:
        return None
