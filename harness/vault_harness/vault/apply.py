"""Makes a Vault contain what a blueprint says, and nothing of it twice.

First everything is read and decided, then written: a value that is missing stops it before the
first write.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vault_harness import dialect, namespaces
from vault_harness.blueprint import AuditDevice, Blueprint, Secret, Value
from vault_harness.boundary import without_frames
from vault_harness.errors import BlueprintError, OperatorError
from vault_harness.vault.approle import DEFAULT_MOUNT
from vault_harness.vault.kv import Kv
from vault_harness.vault.namespace import check_possible, exists
from vault_harness.vault.operator import Operator

Action = Literal["created", "changed", "unchanged"]
What = Literal["everything", "access"]
PartKind = Literal[
    "namespace", "mount", "audit", "policy", "auth", "approle", "secret", "secret-id"
]

_READY_SECONDS = 10.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Change:
    """What `apply` did about one thing.

    Attributes:
        kind: What sort of thing.
        name: Its name or path.
        action: What was done.
        detail: More for a person, e.g. that it differs from the blueprint and was left alone.
        replaces: Keys of a secret whose present values are replaced by other ones.
    """

    kind: PartKind
    name: str
    action: Action
    detail: str = ""
    replaces: tuple[str, ...] = ()


def values_replaced(changes: Iterable[Change]) -> int:
    """How many values that are in Vault these changes replace by others."""
    return sum(len(change.replaces) for change in changes)


@dataclass(frozen=True)
class _Step:
    change: Change
    write: Callable[[], None] | None = None
    secret: tuple[str, str, Mapping[str, Any]] | None = field(default=None, repr=False)
    """Mount, path and values of one, as it is afterwards."""


_KEPT = "differs from the blueprint, left alone"


@without_frames
def apply(
    op: Operator,
    blueprint: Blueprint,
    *,
    what: What = "everything",
    overwrite: bool = False,
    dry: bool = False,
    environ: Mapping[str, str] | None = None,
    audit_path: str | None = None,
    audit_raw: bool = False,
    stored: Callable[[str, str, Mapping[str, Any]], None] | None = None,
) -> list[Change]:
    """Make a Vault contain what the blueprint says.

    All but audit devices is in the blueprint's namespace, below the one that ``op`` acts in; it is
    made if it is not there.

    What is there already stays as it is; a key that a secret lacks is added to it. With
    ``overwrite`` everything is written as the blueprint has it, generated values anew: each value
    that differs is replaced, and is to be had only as an older version of its secret. Ask
    before, with what ``dry`` tells.

    Args:
        op: An operator who may do all that.
        blueprint: What it must contain.
        what: ``access`` puts policies and AppRoles right, those that differ too, and neither reads
            nor writes a secret.
        overwrite: Change what is there already.
        dry: Write nothing; tell what would be done.
        environ: Where ``env`` values come from; default is the environment.
        audit_path: Where the server shall write an audit log for which the blueprint names no file.
        audit_raw: Let a new audit device log values in clear; for throw-away secrets only.
        stored: Called with mount, path and values of each secret of the blueprint as it is now.

    Returns:
        One change for each thing in the blueprint.

    Raises:
        BlueprintError: An environment variable that is needed is not set. Nothing was written.
        NamespaceError: The server has no namespaces, or the blueprint's is sealed.
        OperatorError: Vault refused something.
    """
    environ = os.environ if environ is None else environ
    audit = _AuditPlace(audit_path, raw=audit_raw)
    with _within(op, blueprint.namespace) as inside:
        plan = _Plan(op, inside, blueprint, overwrite=overwrite, environ=environ, audit=audit)
        steps = plan.access() if what == "access" else plan.everything()
        if not dry:
            for step in steps:
                if step.write is not None:
                    step.write()
                if step.secret is not None and stored is not None:
                    stored(*step.secret)
    return [step.change for step in steps]


@dataclass(frozen=True)
class _AuditPlace:
    path: str | None
    raw: bool


class _Plan:
    def __init__(
        self,
        above: Operator,
        op: Operator,
        blueprint: Blueprint,
        *,
        overwrite: bool,
        environ: Mapping[str, str],
        audit: _AuditPlace,
    ) -> None:
        self._above = above
        self._missing = _missing_namespaces(above, blueprint.namespace)
        self._op = op
        self._blueprint = blueprint
        self._overwrite = overwrite
        self._environ = environ
        self._audit_place = audit
        self._mounts = {
            str(name).rstrip("/"): body for name, body in self._data("sys/mounts").items()
        }

    def everything(self) -> list[_Step]:
        """All steps, in an order in which they can be done."""
        return [
            *self._audit(),
            *self._namespaces(),
            *(self._mount(name) for name in self._blueprint.mounts),
            *self._policies(self._overwrite),
            *self._approles(self._overwrite),
            *self._secrets(),
        ]

    def access(self) -> list[_Step]:
        """Policies and AppRoles as the blueprint has them. No secret is looked at."""
        return [*self._namespaces(), *self._policies(True), *self._approles(True)]

    def _namespaces(self) -> list[_Step]:
        """Those of the blueprint that are not there, from the outside to the inside."""
        steps = []
        for name in namespaces.levels(self._blueprint.namespace):
            whole = namespaces.below(self._above.namespace, name)
            if name not in self._missing:
                steps.append(_Step(Change("namespace", whole, "unchanged")))
                continue
            change = Change("namespace", whole, "created")
            steps.append(_Step(change, functools.partial(self._make_namespace, name)))
        return steps

    def _make_namespace(self, name: str) -> None:
        parent, _, own = name.rpartition("/")
        with contextlib.closing(_below(self._above, parent)) as op:
            op.request("POST", f"sys/namespaces/{own}")

    def _data(self, path: str, method: str = "GET") -> dict[str, Any]:
        if self._missing and not namespaces.is_root_level(path):
            return {}  # nothing is in a namespace that is not there
        data = self._op.request(method, path).get("data")
        return data if isinstance(data, dict) else {}

    def _listed(self, path: str) -> set[str]:
        return set(self._data(path, "LIST").get("keys") or [])

    def _step(self, kind: PartKind, name: str, action: Action, path: str, **body: object) -> _Step:
        return _Step(Change(kind, name, action), lambda: self._write(path, body))

    def _write(self, path: str, body: Mapping[str, object]) -> None:
        self._op.request("POST", path, **body)

    def _existing(self, change: Change, path: str, *, overwrite: bool, **body: object) -> _Step:
        """Something that is there and differs: bring it in line if asked, or leave it."""
        if not overwrite:
            return _Step(replace(change, action="unchanged", detail=_KEPT))
        return _Step(change, lambda: self._write(path, body))

    def _audit(self) -> list[_Step]:
        if not self._blueprint.audit:
            return []
        present = {str(name).rstrip("/") for name in self._data("sys/audit")}
        return [
            _Step(Change("audit", name, "unchanged"))
            if name in present
            else self._new_audit(name, device)
            for name, device in self._blueprint.audit.items()
        ]

    def _new_audit(self, name: str, device: AuditDevice) -> _Step:
        path = device.file_path or self._audit_place.path
        if path is None:
            # Somebody else's Vault, or one that was started without: not for a blueprint to decide.
            return _Step(Change("audit", name, "unchanged", "no place for the log is known"))
        options = dialect.audit_options(path, raw=self._audit_place.raw)
        return self._step(
            "audit", name, "created", f"sys/audit/{name}", type="file", options=options
        )

    def _mount(self, name: str) -> _Step:
        mount = self._blueprint.mounts[name]
        config = {"max_versions": mount.max_versions, "cas_required": mount.cas_required}
        present = self._mounts.get(name)
        if present is not None:
            options = present.get("options") or {}
            if present.get("type") != "kv" or str(options.get("version")) != "2":
                raise OperatorError(
                    f"{name}/ is there, but is no KV v2 engine",
                    looked_at=f"sys/mounts: type {present.get('type')}, options {options}",
                    remedy="choose another mount in the blueprint, or disable that one",
                )
            current = self._data(f"{name}/config")
            same = all(current.get(field) == value for field, value in config.items())
            if same:
                return _Step(Change("mount", name, "unchanged"))
            change, path = Change("mount", name, "changed"), f"{name}/config"
            return self._existing(change, path, overwrite=self._overwrite, **config)

        def write() -> None:
            body = {
                "type": "kv",
                "description": mount.description,
                "options": {"version": "2"},
            }
            self._write(f"sys/mounts/{name}", body)
            if mount.max_versions or mount.cas_required:
                self._when_ready(lambda: self._write(f"{name}/config", config))

        return _Step(Change("mount", name, "created"), write)

    def _policies(self, overwrite: bool) -> list[_Step]:
        present = self._listed("sys/policies/acl")
        steps = []
        for name, policy in self._blueprint.policies.items():
            path = f"sys/policies/acl/{name}"
            if name not in present:
                steps.append(self._step("policy", name, "created", path, policy=policy.rules))
                continue
            if self._data(path).get("policy", "").strip() == policy.rules.strip():
                steps.append(_Step(Change("policy", name, "unchanged")))
                continue
            change = Change("policy", name, "changed")
            steps.append(self._existing(change, path, overwrite=overwrite, policy=policy.rules))
        return steps

    def _approles(self, overwrite: bool) -> list[_Step]:
        if not self._blueprint.approles:
            return []
        mount = DEFAULT_MOUNT
        enabled = f"{mount}/" in self._data("sys/auth")
        auth = Change("auth", mount, "unchanged" if enabled else "created")
        body = {"type": "approle"}
        steps = [_Step(auth, None if enabled else lambda: self._write(f"sys/auth/{mount}", body))]
        present = self._listed(f"auth/{mount}/role") if enabled else set()
        for name, role in self._blueprint.approles.items():
            path, wanted = f"auth/{mount}/role/{name}", role.payload()
            if name not in present:
                steps.append(self._step("approle", name, "created", path, **wanted))
                continue
            current = self._data(path)
            if all(_equal(current.get(field), value) for field, value in wanted.items()):
                steps.append(_Step(Change("approle", name, "unchanged")))
                continue
            change = Change("approle", name, "changed")
            steps.append(self._existing(change, path, overwrite=overwrite, **wanted))
        return steps

    def _secrets(self) -> list[_Step]:
        steps = []
        for mount, mounted in self._blueprint.secrets.items():
            current = {path: self._current(mount, path) for path in mounted}
            resolved = self._resolve(mount, mounted, current)
            steps += [self._secret(mount, path, current[path], resolved[path]) for path in mounted]
        return steps

    def _current(self, mount: str, path: str) -> tuple[int, dict[str, Any]]:
        """Version (0 if it never was) and values (none if deleted) of a secret."""
        if mount not in self._mounts:
            return 0, {}
        secret = Kv(self._op, mount).read(path)
        return secret.version, dict(secret.data)

    def _resolve(
        self,
        mount: str,
        mounted: Mapping[str, Secret],
        current: Mapping[str, tuple[int, dict[str, Any]]],
    ) -> dict[str, dict[str, Any]]:
        known: dict[tuple[str, str], Any] = {}
        entries = [(path, key, value) for path, s in mounted.items() for key, value in s.items()]
        # Templates last: they are made of the others, and never of each other.
        for path, key, value in sorted(entries, key=lambda entry: entry[2].template is not None):
            present = current[path][1].get(key)
            if present is not None and not self._overwrite:
                known[path, key] = present
            elif value.template is not None:
                known[path, key] = value.fill(path, known)
            else:
                known[path, key] = self._fresh(mount, path, key, value)
        return {path: {key: known[path, key] for key in s} for path, s in mounted.items()}

    def _fresh(self, mount: str, path: str, key: str, value: Value) -> Any:
        if value.value is not None:
            return value.value
        if value.env is not None:
            # An empty variable is what `VAR= command` and half-filled .env files leave behind.
            from_environment = self._environ.get(value.env)
            if from_environment:
                return from_environment
        if value.generated:
            return value.new()
        if value.default is not None:
            return value.default
        raise BlueprintError(
            f"{self._blueprint.where('secrets', mount, path, key)}: "
            f"the environment variable {value.env} is not set",
            looked_at="the environment",
            remedy=f"set {value.env}, or give the value a default or generate; nothing was written",
        )

    def _secret(
        self, mount: str, path: str, current: tuple[int, dict[str, Any]], wanted: dict[str, Any]
    ) -> _Step:
        version, present = current
        name = f"{mount}/{path}"
        # Keys of somebody's own beside ours stay.
        values = {**present, **wanted}
        if present == values:
            return _Step(Change("secret", name, "unchanged"), secret=(mount, path, present))
        action: Action = "changed" if present else "created"
        replaces = tuple(sorted(key for key in present if present[key] != values[key]))

        def write() -> None:
            body = {"data": values, "options": {"cas": version}}
            self._when_ready(lambda: self._write(f"{mount}/data/{path}", body))

        change = Change("secret", name, action, replaces=replaces)
        return _Step(change, write, secret=(mount, path, values))

    def _when_ready(self, write: Callable[[], None]) -> None:
        """Write to a KV v2 mount that may be new: it refuses until it has set itself up."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                write()
            except OperatorError as error:
                if "Upgrading from non-versioned" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)  # between two tries, bounded by the deadline
            else:
                return


def _within(op: Operator, name: str) -> contextlib.AbstractContextManager[Operator]:
    """An operator in a namespace below another's; that one itself where it is the same."""
    return contextlib.closing(_below(op, name)) if name else contextlib.nullcontext(op)


def _below(op: Operator, name: str) -> Operator:
    return op.within(namespaces.below(op.namespace, name))


def _missing_namespaces(op: Operator, name: str) -> set[str]:
    """Those on the way to a namespace below an operator's that are not there, itself included."""
    if not name:
        return set()
    check_possible(op)
    missing: set[str] = set()
    for each in namespaces.levels(name):
        with contextlib.closing(_below(op, each)) as inside:
            # What is below one that is not there is not asked for.
            if missing or not exists(inside):
                missing.add(each)
    return missing


def _equal(current: object, wanted: object) -> bool:
    """Vault gives null or an empty list for none, and lists in an order of its own."""
    if isinstance(wanted, list):
        return sorted(map(str, current or [])) == sorted(map(str, wanted))  # type: ignore[call-overload] # JSON
    return current == wanted
