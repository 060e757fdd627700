from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vault_harness.local.policy import parse
from vault_harness.operator.audit import AuditEntry, Filter, joined_entries
from vault_harness.operator.audit.log import entry_of
from vault_harness.operator.audit.reports import best_rule, covers, narrow, summarise


def entry(**changes: Any) -> AuditEntry:
    """Return the entry of a response as OpenBao 2.7 writes it, with some fields changed."""
    roles = changes.pop("roles", None)
    record: dict[str, Any] = {
        "time": "2026-11-24T14:35:40.92410446Z",
        "type": "response",
        "auth": {
            "display_name": "approle",
            "policies": ["backend", "default"],
            "metadata": {"role_name": "backend"},
        },
        "request": {
            "id": "4711",
            "operation": "read",
            "mount_type": "kv",
            "path": "ecommerce/data/backend/django",
            "remote_address": "127.0.0.1",
        },
        "response": {"data": {"data": {"A": "hmac-sha256:00"}, "metadata": {}}},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            record[part][key] = value
        else:
            record[part] = value
    found = entry_of(record, datetime.fromisoformat(record["time"]), roles=roles, node="")
    assert found is not None
    return found


def test_who_what_when_status() -> None:
    found = entry()
    assert found.time == datetime(2026, 11, 24, 14, 35, 40, 924104, tzinfo=UTC)
    assert (found.who, found.role, found.operation) == ("backend", "backend", "read")
    assert (found.path, found.status) == ("ecommerce/data/backend/django", "ok")
    assert found.policies == ("backend", "default")
    assert "hmac" not in str(found)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"error": "1 error occurred:\n\t* permission denied\n\n"}, "denied"),
        ({"error": "permission denied"}, "denied"),
        ({"error": "1 error occurred:\n\t* invalid request\n\n"}, "failed"),
        ({"response": {}}, "missing"),
        ({"response": {"data": {"data": None, "metadata": {}}}}, "missing"),
        ({"response": {"data": {"error": "hmac-sha256:00"}}}, "failed"),
        ({"request__operation": "update", "response": {}}, "ok"),
        ({"response": {"wrap_info": {"token": "hmac-sha256:00"}}}, "ok"),
        ({"response": {"wrap_info": {"token": "hmac-sha256:00"}}, "error": "no"}, "failed"),
    ],
)
def test_how_it_went(changes: dict[str, Any], status: str) -> None:
    assert entry(**changes).status == status


LOGIN = {"request__path": "auth/approle/login", "request__operation": "update"}


def test_a_login_counts_for_the_new_tokens_role() -> None:
    """A token that is sent along does not count."""
    new = {"display_name": "approle", "metadata": {"role_name": "ai-services"}}
    assert entry(**LOGIN, response={"auth": new}).who == "ai-services"
    assert entry(**LOGIN, response={"auth": new}).status == "ok"


def test_a_login_is_named_by_the_hash_of_its_role_id() -> None:
    """A wrapped login went well, though the log does not show its answer."""
    ids: dict[str, Any] = {**LOGIN, "request__data": {"role_id": "hmac-sha256:aa"}}
    known = {**ids, "roles": {"hmac-sha256:aa": "backend"}}
    wrapped = entry(**known, response={"wrap_info": {"token": "hmac-sha256:00", "ttl": 60}})
    assert (wrapped.who, wrapped.status, wrapped.error) == ("backend", "ok", "")
    failed = entry(**known, response={})
    assert (failed.who, failed.status) == ("backend", "failed")
    assert entry(**ids, response={}).who == "-"


def test_lines_that_are_no_entries_are_skipped(tmp_path: Path) -> None:
    """They are half lines, requests and other text."""
    lines = ["", "{", "null", "[]", "1", '{"type": "request"}', '{"type": "response"}']
    (tmp_path / "log").write_text("\n".join(lines))
    assert list(joined_entries({"": tmp_path / "log"})) == []


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(who="back*"), True),
        (Filter(who="ai-*"), False),
        (Filter(path="ecommerce/data/backend/*"), True),
        (Filter(path="ecommerce/data/ai/*"), False),
        (Filter(operation="read", status="ok"), True),
        (Filter(status="denied"), False),
        (Filter(status="bad"), False),
        (Filter(since=datetime(2026, 11, 24, 14, 0, tzinfo=UTC)), True),
        (Filter(since=datetime(2026, 11, 24, 15, 0, tzinfo=UTC)), False),
    ],
)
def test_filters(wanted: Filter, passes: bool) -> None:
    assert wanted.wants(entry()) is passes


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/bc", False),
        ("a/b*", "a/bc/d", True),
        ("a/*", "a", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/b/c", False),
        ("a/+", "a/", False),
        ("a+b/c", "a+b/c", True),
        ("a.b/*", "axb/c", False),
    ],
)
def test_what_a_rule_covers(pattern: str, path: str, fits: bool) -> None:
    """Only Vault's two wildcards are wild."""
    (rule,) = parse(f'path "{pattern}" {{ capabilities = ["read"] }}')
    assert covers(rule, path) is fits


@pytest.mark.parametrize(
    ("patterns", "best"),
    [
        (["a/*", "a/b/*", "a/b/c"], "a/b/c"),
        (["a/*", "a/b/*"], "a/b/*"),
        (["a/+/c", "a/*"], "a/+/c"),
        (["+/b/c", "a/*"], "a/*"),
        (["a/+/c", "a/b/*"], "a/b/*"),
        (["+/+/c", "+/b/c"], "+/b/c"),
    ],
)
def test_the_rule_that_decides(patterns: list[str], best: str) -> None:
    """The most specific rule decides, by Vault's documented order."""
    text = "\n".join(f'path "{p}" {{ capabilities = ["read"] }}' for p in patterns)
    found = best_rule(parse(text), "a/b/c")
    assert found is not None
    assert found.path == best


POLICY = """\
path "kv/data/app/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "kv/metadata/app/*" {
  capabilities = ["list"]
}
path "kv/data/shared" {
  capabilities = ["read", "update"]
}
path "kv/data/app/secret" {
  capabilities = ["deny"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
"""


def call(path: str, operation: str, **changes: Any) -> AuditEntry:
    auth = {"policies": ["app"], "metadata": {"role_name": "app"}}
    parts = {"request__path": path, "request__operation": operation, "auth": auth}
    return entry(**{**parts, **changes})


def test_a_policy_is_narrowed_to_what_was_used() -> None:
    """Denials and renewal stay."""
    used = [
        call("kv/data/app/one", "read"),
        call("kv/data/app/two", "update"),
        call("kv/data/shared", "read"),
    ]
    found = summarise(used, roles={"app": ["app"]}, policies={"app": POLICY})
    (proposal,) = found.proposals
    rules = {rule.path: set(rule.capabilities) for rule in parse(proposal.text)}
    assert rules == {
        "kv/data/app/one": {"read"},
        "kv/data/app/two": {"create", "update"},
        "kv/data/shared": {"read"},
        "kv/data/app/secret": {"deny"},
        "auth/token/renew-self": {"update"},
    }
    assert "kv/metadata/app/*: never used" in proposal.reasons
    assert "kv/data/app/*: delete never used" in proposal.reasons
    assert '-path "kv/data/app/*" {' in proposal.diff
    assert '+path "kv/data/app/one" {' in proposal.diff


def test_a_path_that_was_only_ever_missing_is_left_out() -> None:
    """The reasons name it."""
    nothing: dict[str, Any] = {"response": {}}
    used = [
        call("kv/data/app/one", "read"),
        call("kv/data/app/later", "read", **nothing),
        call("kv/data/app/later", "read"),
        call("kv/data/app/never", "read", **nothing),
        call("kv/data/shared", "read", **nothing),
    ]
    found = summarise(used, roles={"app": ["app"]}, policies={"app": POLICY})
    (proposal,) = found.proposals
    rules = {rule.path for rule in parse(proposal.text)}
    assert {"kv/data/app/one", "kv/data/app/later"} <= rules
    assert rules.isdisjoint({"kv/data/app/never", "kv/data/shared"})
    for path in ("kv/data/app/never", "kv/data/shared"):
        assert f"{path}: requested, but it had no content" in proposal.reasons


def test_a_policy_that_fits_is_left_alone() -> None:
    text = 'path "kv/data/a" { capabilities = ["read"] }'
    used = {"kv/data/a": {"kv/data/a": {"read"}}}
    assert narrow("app", text, used) is None


@pytest.mark.parametrize(
    "used",
    [
        [],
        [call("kv/data/shared", "read", auth={"policies": ["other"]})],
        [call("auth/token/renew-self", "update")],
    ],
    ids=["empty log", "not used", "renewed only"],
)
def test_no_policy_loses_all_that_it_allows(used: list[AuditEntry]) -> None:
    found = summarise(used, roles={"app": ["app"]}, policies={"app": POLICY})
    assert found.proposals == ()


@pytest.mark.parametrize("operation", ["scan", "recover"])
def test_a_capability_of_newer_servers_is_seen(operation: str) -> None:
    text = f'path "kv/metadata/app/" {{ capabilities = ["{operation}", "list"] }}'
    found = summarise(
        [call("kv/metadata/app/", operation)], roles={"app": ["app"]}, policies={"app": text}
    )
    (proposal,) = found.proposals
    assert proposal.reasons == ("kv/metadata/app/: list never used",)
    assert found.idle_policies == ()


def test_a_rule_for_events_stays() -> None:
    """No request in the log tells of a subscription."""
    text = """
        path "kv/data/events/*" { capabilities = ["subscribe", "read"] }
        path "kv/data/app/*" { capabilities = ["read"] }
    """
    used = {"kv/data/app/*": {"kv/data/app/one": {"read"}}}
    proposal = narrow("app", text, used)
    assert proposal is not None
    rules = {rule.path: set(rule.capabilities) for rule in parse(proposal.text)}
    assert rules == {"kv/data/events/*": {"subscribe", "read"}, "kv/data/app/one": {"read"}}


@pytest.mark.parametrize(
    "rule",
    [
        'path "kv/data/{{identity.entity.name}}" { capabilities = ["read"] }',
        'path "sys/events/subscribe/kv" { capabilities = ["subscribe"] }',
    ],
    ids=["template", "events"],
)
def test_a_policy_whose_use_is_not_in_the_log_is_not_idle(rule: str) -> None:
    """It is not called idle."""
    found = summarise([], roles={"app": ["app", "old"]}, policies={"app": rule, "old": POLICY})
    assert found.idle_policies == ("old",)


def test_what_cannot_be_narrowed_by_a_log_is_said() -> None:
    """Parameter limits would be lost."""
    text = 'path "kv/*" {\n capabilities = ["read"]\n allowed_parameters = { "a" = [] }\n}'
    found = summarise(
        [call("kv/data/a", "read")], roles={"app": ["app"]}, policies={"app": text, "odd": "path {"}
    )
    assert found.proposals == ()
    assert "allowed_parameters" in found.unread_policies["app"]
    assert "odd" in found.unread_policies


@pytest.mark.parametrize(
    "seen",
    [
        {"auth__policies": ["reports"], "auth__metadata": {}, "error": "permission denied"},
        {
            "request__path": "auth/jwt/login",
            "auth": {},
            "response": {"auth": {"policies": ["reports"]}},
        },
    ],
    ids=["denied", "login"],
)
def test_a_policy_of_another_auth_method_is_in_use(seen: dict[str, Any]) -> None:
    """A token that was only denied, or only logged in, still uses its policy."""
    found = summarise([entry(**seen)], roles={}, policies={"reports": "", "orphan": ""})
    assert found.unused_policies == ("orphan",)


def test_counts_per_role() -> None:
    used = [
        entry(**LOGIN, response={"auth": {"metadata": {"role_name": "app"}}}),
        call("kv/data/b", "read", error="permission denied"),
        call("kv/data/b", "read", error="permission denied"),
        call("kv/data/c", "read", response={}),
        entry(**LOGIN, response={}),
    ]
    found = summarise(
        used, roles={"app": ["app"], "idle": ["old"]}, policies={"old": "", "app": "", "orphan": ""}
    )
    app = found.roles["app"]
    assert (app.logins, app.requests, app.failed_logins) == (1, 3, 0)
    assert app.denied == {"kv/data/b": 2}
    assert app.missing == {"kv/data/c": 1}
    assert found.unused_roles == ("idle",)
    assert found.unused_policies == ("orphan",)
    assert found.idle_policies == ("app", "old")
    assert found.unknown_logins == 1
    assert found.entries == 5
