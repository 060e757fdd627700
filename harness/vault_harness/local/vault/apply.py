"""Make a Vault contain what a blueprint says, without duplicates.

Everything is read and decided first, so a missing value stops it before the first write.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vault_harness import namespaces
from vault_harness.errors import BlueprintError, OperatorError, named, without_frames
from vault_harness.local import dialect
from vault_harness.local.blueprint import AuditDevice, Blueprint, Database, Secret, Value
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.approle import DEFAULT_MOUNT
from vault_harness.local.vault.kept import Kept
from vault_harness.local.vault.kv import Kv, free_mount
from vault_harness.local.vault.namespace import check_possible, exists

Action = Literal["created", "changed", "unchanged"]
What = Literal["everything", "access"]
PartKind = Literal[
    "namespace",
    "mount",
    "audit",
    "policy",
    "auth",
    "approle",
    "secret",
    "secret-id",
    "database",
    "static role",
]

_READY_SECONDS = 10.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Change:
    """What `apply` did about one thing. `replaces` are keys of a secret."""

    kind: PartKind
    name: str
    action: Action
    detail: str = ""
    replaces: tuple[str, ...] = ()


def values_replaced(changes: Iterable[Change]) -> int:
    return sum(len(change.replaces) for change in changes)


@dataclass(frozen=True)
class _Step:
    change: Change
    write: Callable[[], None] | None = None
    secret: tuple[str, str, Mapping[str, Any]] | None = field(default=None, repr=False)
    """Mount, path and final values."""


_LEFT = "differs from the blueprint, left alone"
_UNREADABLE = frozenset({"password", "plugin_name", "allowed_roles"})
"""Settings of a database that are written with the others, and not compared."""


@dataclass(frozen=True)
class Applying:
    """How a blueprint is applied.

    Attributes:
        what: ``access`` makes policies and AppRoles equal to the blueprint, even existing ones, and
            does not touch secrets.
        overwrite: Write everything as the blueprint says, with new generated values. A replaced
            value survives only as an older version of its secret, so ask the user first.
        dry: Change nothing; return what would be done.
        audit_path: Path on the server of an audit log without a path in the blueprint.
        audit_raw: Log values in clear. For throw-away secrets only.
        stored: Called with mount, path and values of each secret.
        kept: Keeps a copy of what is replaced. Its adopted policies count instead of the
            blueprint's, unless ``overwrite``.
    """

    what: What = "everything"
    overwrite: bool = False
    dry: bool = False
    audit_path: str | None = None
    audit_raw: bool = False
    stored: Callable[[str, str, Mapping[str, Any]], None] | None = None
    kept: Kept | None = None


WITHOUT_LOSS = Applying()


@without_frames
def apply(
    op: VaultAdmin,
    blueprint: Blueprint,
    how: Applying = WITHOUT_LOSS,
    *,
    environ: Mapping[str, str] | None = None,
) -> list[Change]:
    """Make a Vault contain what the blueprint says. Return one change for each thing in it.

    Everything except audit devices goes into the blueprint's namespace, below the one of ``op``.

    Raises:
        BlueprintError: An environment variable is not set. Nothing was written.
        NamespaceError: The server has no namespaces, or the blueprint's is sealed.
    """
    environ = os.environ if environ is None else environ
    with _within(op, blueprint.namespace) as inside:
        plan = _Plan(op, inside, blueprint, how, environ)
        steps = plan.access() if how.what == "access" else plan.everything()
        if not how.dry:
            for step in steps:
                if step.write is not None:
                    step.write()
                if step.secret is not None and how.stored is not None:
                    how.stored(*step.secret)
    return [step.change for step in steps]


class _Plan:
    def __init__(
        self,
        above: VaultAdmin,
        op: VaultAdmin,
        blueprint: Blueprint,
        how: Applying,
        environ: Mapping[str, str],
    ) -> None:
        self._above = above
        self._missing = _missing_namespaces(above, blueprint.namespace)
        self._op = op
        self._blueprint = blueprint
        self._how = how
        self._overwrite = how.overwrite or how.what == "access"
        self._environ = environ
        self._mounts = {
            str(name).rstrip("/"): body for name, body in self._data("sys/mounts").items()
        }

    def everything(self) -> list[_Step]:
        """Return all steps, in an order in which they can be done."""
        return [
            *self._audit(),
            *self._namespaces(),
            *(self._mount(name) for name in self._blueprint.mounts),
            *self._policies(),
            *self._approles(),
            *self._secrets(),
            *self._databases(),
        ]

    def access(self) -> list[_Step]:
        return [*self._namespaces(), *self._policies(), *self._approles()]

    def _namespaces(self) -> list[_Step]:
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
            return {}  # a missing namespace is empty
        data = self._op.request(method, path).get("data")
        return data if isinstance(data, dict) else {}

    def _listed(self, path: str) -> set[str]:
        return set(self._data(path, "LIST").get("keys") or [])

    def _step(self, kind: PartKind, name: str, action: Action, path: str, **body: object) -> _Step:
        return _Step(Change(kind, name, action), lambda: self._write(path, body))

    def _write(self, path: str, body: Mapping[str, object]) -> None:
        self._op.request("POST", path, **body)

    def _settled(
        self,
        kind: PartKind,
        name: str,
        path: str,
        body: Mapping[str, object],
        current: Mapping[str, Any],
    ) -> _Step:
        """Create what is not there, leave what is right, and replace what differs."""
        if not current:
            return self._step(kind, name, "created", path, **body)
        compared = {field: value for field, value in body.items() if field not in _UNREADABLE}
        if all(_equal(current.get(field), value) for field, value in compared.items()):
            return _Step(Change(kind, name, "unchanged"))
        change, before = Change(kind, name, "changed"), _settings(current, compared)
        return self._existing(change, path, body, before)

    def _existing(
        self, change: Change, path: str, body: Mapping[str, object], before: str
    ) -> _Step:
        if not self._overwrite:
            return _Step(replace(change, action="unchanged", detail=_LEFT))

        def write() -> None:
            if self._how.kept is not None:
                self._how.kept.keep(change.kind, change.name, before)
            self._write(path, body)

        copy = f"what it was is kept in {self._how.kept.replaced_path}" if self._how.kept else ""
        return _Step(replace(change, detail=copy), write)

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
        path = device.file_path or self._how.audit_path
        if path is None:
            # An external Vault, or one without a log: a blueprint must not choose the path.
            return _Step(Change("audit", name, "unchanged", "no place for the log is known"))
        options = dialect.audit_options(path, raw=self._how.audit_raw)
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
                aside = free_mount(f"{name}-{present.get('type')}", self._mounts)
                move = named("vault", "--", "secrets", "move", f"{name}/", f"{aside}/")
                raise OperatorError(
                    f"{name}/ exists but is not a KV v2 engine",
                    looked_at=f"sys/mounts: type {present.get('type')}, options {options}",
                    remedy=f"choose another mount in the blueprint, or move that one: {move}",
                )
            current = self._data(f"{name}/config")
            same = all(current.get(field) == value for field, value in config.items())
            if same:
                return _Step(Change("mount", name, "unchanged"))
            change, path = Change("mount", name, "changed"), f"{name}/config"
            before = _settings(current, config)
            return self._existing(change, path, config, before)

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

    def _policies(self) -> list[_Step]:
        present = self._listed("sys/policies/acl")
        steps = []
        for name, policy in self._blueprint.policies.items():
            path = f"sys/policies/acl/{name}"
            adopted = (
                self._how.kept.adopted(name) if self._how.kept and not self._how.overwrite else ""
            )
            rules, detail = adopted or policy.rules, "as it was adopted" if adopted else ""
            if name not in present:
                step = self._step("policy", name, "created", path, policy=rules)
                steps.append(replace(step, change=replace(step.change, detail=detail)))
                continue
            now = str(self._data(path).get("policy", ""))
            if now.strip() == policy.rules.strip():
                steps.append(_Step(Change("policy", name, "unchanged")))
            elif adopted and now.strip() == adopted.strip():
                steps.append(_Step(Change("policy", name, "unchanged", detail)))
            else:
                change = Change("policy", name, "changed", detail)
                body = {"policy": rules}
                steps.append(self._existing(change, path, body, now))
        return steps

    def _approles(self) -> list[_Step]:
        if not self._blueprint.approles:
            return []
        mount = DEFAULT_MOUNT
        enabled = f"{mount}/" in self._data("sys/auth")
        auth = Change("auth", mount, "unchanged" if enabled else "created")
        body = {"type": "approle"}
        steps = [_Step(auth, None if enabled else lambda: self._write(f"sys/auth/{mount}", body))]
        present = self._listed(f"auth/{mount}/role") if enabled else set()
        for name, role in self._blueprint.approles.items():
            path = f"auth/{mount}/role/{name}"
            current = self._data(path) if name in present else {}
            steps.append(self._settled("approle", name, path, role.payload(), current))
        return steps

    def _secrets(self) -> list[_Step]:
        steps = []
        for mount, mounted in self._blueprint.secrets.items():
            current = {path: self._current(mount, path) for path in mounted}
            resolved = self._resolve(mount, mounted, current)
            steps += [self._secret(mount, path, current[path], resolved[path]) for path in mounted]
        return steps

    def _current(self, mount: str, path: str) -> tuple[int, dict[str, Any]]:
        """Return version and values: 0 if it never existed, no values if deleted."""
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
        # Templates last: they are made of other values, never of each other.
        for path, key, value in sorted(entries, key=lambda entry: entry[2].template is not None):
            present = current[path][1].get(key)
            if present is not None and not self._how.overwrite:
                known[path, key] = present
            elif value.template is not None:
                known[path, key] = value.fill(path, known)
            else:
                known[path, key] = self._fresh(value, "secrets", mount, path, key)
        return {path: {key: known[path, key] for key in s} for path, s in mounted.items()}

    def _fresh(self, value: Value, *where: str) -> Any:
        if value.value is not None:
            return value.value
        if value.env is not None:
            # `VAR= command` and half-filled .env files set an empty variable.
            from_environment = self._environ.get(value.env)
            if from_environment:
                return from_environment
        if value.generated:
            return value.new()
        if value.default is not None:
            return value.default
        raise BlueprintError(
            f"{self._blueprint.where(*where)}: the environment variable {value.env} is not set",
            looked_at="the environment",
            remedy=f"set {value.env}, or give the value a default or generate; nothing was written",
        )

    def _secret(
        self, mount: str, path: str, current: tuple[int, dict[str, Any]], wanted: dict[str, Any]
    ) -> _Step:
        version, present = current
        name = f"{mount}/{path}"
        # Keys that are not in the blueprint stay.
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

    def _databases(self) -> list[_Step]:
        steps, mounts = [], set(self._mounts)
        for name, database in self._blueprint.databases.items():
            mount = database.mount
            if mount not in mounts:
                mounts.add(mount)
                path = f"sys/mounts/{mount}"
                steps.append(self._step("mount", mount, "created", path, type="database"))
            steps.append(self._connection(name, database))
            steps += [
                self._static_role(name, database, role) for role in sorted(database.static_roles)
            ]
        return steps

    def _connection(self, name: str, database: Database) -> _Step:
        path = f"{database.mount}/config/{name}"
        body = {
            "connection_url": database.connection_url,
            "username": database.username,
            "password": self._fresh(database.password, "databases", name, "password"),
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "*",
        }
        current = self._configured(path, database.mount).get("connection_details") or {}
        return self._settled("database", name, path, body, current)

    def _static_role(self, connection: str, database: Database, name: str) -> _Step:
        path, role = f"{database.mount}/static-roles/{name}", database.static_roles[name]
        body = {"db_name": connection, **role.model_dump()}
        current = self._configured(path, database.mount)
        return self._settled("static role", name, path, body, current)

    def _configured(self, path: str, mount: str) -> dict[str, Any]:
        folder, _, name = path.rpartition("/")
        there = mount in self._mounts and name in self._listed(folder)
        return self._data(path) if there else {}

    def _when_ready(self, write: Callable[[], None]) -> None:
        """Write to a KV v2 mount. A new one refuses writes until it has set itself up."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                write()
            except OperatorError as error:
                if "Upgrading from non-versioned" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)  # bounded by the deadline
            else:
                return


def _within(op: VaultAdmin, name: str) -> contextlib.AbstractContextManager[VaultAdmin]:
    return contextlib.closing(_below(op, name)) if name else contextlib.nullcontext(op)


def _below(op: VaultAdmin, name: str) -> VaultAdmin:
    return op.within(namespaces.below(op.namespace, name))


def _missing_namespaces(op: VaultAdmin, name: str) -> set[str]:
    if not name:
        return set()
    check_possible(op)
    missing: set[str] = set()
    for each in namespaces.levels(name):
        with contextlib.closing(_below(op, each)) as inside:
            # Below a missing namespace everything is missing, so do not ask.
            if missing or not exists(inside):
                missing.add(each)
    return missing


def _settings(current: Mapping[str, Any], wanted: Mapping[str, object]) -> str:
    """Return the replaced settings, as JSON that ``vault write`` accepts."""
    return json.dumps({name: current.get(name) for name in wanted}, indent=2) + "\n"


def _equal(current: object, wanted: object) -> bool:
    """Compare a setting. Vault returns null or an empty list for none, and reorders lists."""
    if isinstance(wanted, list):
        return sorted(map(str, current or [])) == sorted(map(str, wanted))  # type: ignore[call-overload] # JSON
    return current == wanted
