"""Look at the stack of a data directory, and get access to it. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from vault_harness import files, namespaces
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    NamespaceError,
    NotUp,
    OperatorError,
    StackError,
    VaultIsSealed,
    named,
    without_frames,
)
from vault_harness.local.blueprint import DEFAULT_BLUEPRINT, Blueprint
from vault_harness.local.engine.provider import Endpoints, StackProvider, holds_data, lacking
from vault_harness.local.stack import choice, client_path, data_dir, members, sealing
from vault_harness.local.stack.lock import exclusive, leave_if_empty
from vault_harness.local.stack.opening import Opening, none_leads
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.seal_migration import SealMigrations
from vault_harness.local.stack.status import RestoreStatus, StackStatus, State, cut_off
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import CLOSED, VaultAdmin
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.namespace import check as check_namespace
from vault_harness.local.vault.namespace import moved
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.settings import Settings

Opener = Literal["keys", "itself"]
"""``keys``: the keyring's. ``itself``: at a restart, if it was sealed by hand."""

_ACTIVE_SECONDS = 10.0
_LINES = 200
_LOOK_SECONDS = 2.0


class StackHere:
    """The stack of a data directory, in any state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir
        self.opening = Opening(settings.data_dir, self._server_lines)

    @property
    def keyring_path(self) -> Path:
        return self.opening.keyring_path

    @property
    def authority_directory(self) -> Path:
        return self.data_dir / data_dir.AUTHORITY_NAME

    def namespace(self, blueprint: Blueprint | None = None) -> str:
        blueprint = blueprint or self.blueprint()
        return namespaces.joined(self.settings.vault_namespace, blueprint.namespace)

    def ids_directory(self, namespace: str | None = None) -> Path:
        wanted = self.namespace() if namespace is None else namespace
        return data_dir.ids_directory(self.data_dir, wanted)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the stack. Every task that changes something does so."""
        data_dir.check(self.data_dir)
        there = self.data_dir.exists()
        with exclusive(self.data_dir, timeout=self.settings.lock_timeout):
            try:
                files.keep_from_git(self.data_dir)
                yield
            finally:
                if not there:  # a refused task leaves no empty folder behind
                    leave_if_empty(self.data_dir)

    def provider(self) -> StackProvider:
        return choice.provider_wanted(self.settings)

    # -- the running stack -------------------------------------------------------------------------

    def endpoints(self) -> Endpoints:
        endpoints = StackRecord.load(self.data_dir).endpoints
        services = self.provider().describe()
        missing = lacking(services)
        if endpoints is None or missing:
            raise NotUp(
                "the stack is not up"
                + (f": {' and '.join(missing)} does not run" if len(missing) == 1 else ""),
                looked_at=str(self.data_dir),
                remedy=named("up"),
            )
        return endpoints

    @without_frames
    def operator(self, namespace: str | None = None, *, there: bool = True) -> VaultAdmin:
        """Return the operator of the running, unsealed Vault, with the root or operator token.

        `namespace` is empty for the whole server. `there` checks that it exists and is unsealed.
        """
        wanted = self.namespace() if namespace is None else namespace
        endpoints = self.endpoints()
        status = self.opening.seal_status(endpoints)
        keys = self.keyring_path.exists()
        by_itself = status.initialised and status.kind == "recovery"
        if status.sealed and not keys and not by_itself:
            raise self.opening.keyring_missing()
        if status.sealed:
            raise VaultIsSealed(
                "this Vault is sealed",
                looked_at=endpoints.vault,
                remedy=named("unseal" if keys else "restart"),
            )
        keyring = self.opening.keyring()
        with cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as nodes:
            try:
                address = cluster.wait_for_active(nodes, timeout=_ACTIVE_SECONDS).address
            except DeadlineExceeded:
                if why := self.why_none_leads():
                    raise none_leads(why) from None
                raise
        try:
            acting = admin_with_token(address, keyring, self.data_dir, ca_cert=endpoints.ca_cert)
        except KeyringMissing as error:
            if self.opening.keys_never_kept():  # it unsealed itself, and nobody has a token
                raise self.opening.keyring_missing() from None
            raise self.opening.half_restored(error) from None
        return moved(acting, wanted, there=there)

    def known_endpoints(self) -> Endpoints | None:
        """Return the stack's last addresses; None if it was never started."""
        return StackRecord.load(self.data_dir).endpoints

    @without_frames
    def keyring(self) -> Keyring | None:
        return self.opening.keyring()

    def check_restored(self) -> None:
        """Refuse if a restore was interrupted: the keys here may not belong to this Vault."""
        unfinished = self.opening.unfinished_restore()
        if unfinished is not None and not unfinished.keys_here:
            raise StackError(
                "a restore was ended half-way, and its backup's keys are not here yet",
                looked_at=str(unfinished.note),
                remedy=f"{unfinished.remedy}. {unfinished.otherwise}",
            )

    # -- before it is closed -----------------------------------------------------------------------

    @without_frames  # it reads the keyring
    def opened_by(self) -> Opener:
        """Return what opens Vault after a stop. Changes nothing, and tests no key."""
        endpoints = self.known_endpoints()
        kind = sealing.seal_here(self.data_dir)
        sealing.check_key(kind, self.data_dir)
        status = self._status_of(endpoints) if endpoints is not None else None
        try:
            self.opening.check_keys(status.threshold if status else 0)
        except StackError:
            if kind == "shamir":
                raise
            return "itself"
        return "keys"

    @without_frames  # it reads the keyring
    def before_closing(
        self, doing: str, *, node: str | None = None, leave_sealed: bool = False
    ) -> Opener | None:
        """Refuse to close an open Vault that nothing here can open again. Return what opens it.

        `doing` follows "it was not": ``restarted``. `node` is the affected node; all by default.
        """
        try:
            return self.opened_by()
        except StackError as error:
            running = self._running(node)
            # A silent node may be paused and unsealed.
            if leave_sealed or running is None or CLOSED.issuperset(members.health_of(running)):
                return None
            raise type(error)(
                f"nobody here could open this Vault again, so it was not {doing}: {error.cause}",
                looked_at=error.looked_at,
                remedy=f"{error.remedy}. If you have its keys elsewhere and want to close it "
                "anyway, add --leave-sealed",
            ) from None

    @without_frames  # it reads the keyring
    def lost_by_ending(self) -> StackError | None:
        """Return why nothing here opens the Vault after its servers end.

        None if something does, if it has no keys yet, or if no server runs.
        """
        try:
            self.opened_by()
        except StackError as error:
            if (running := self._running()) is None:
                return None
            status = self._status_of(running)
            return error if status is None or status.initialised else None
        return None

    def _running(self, node: str | None = None) -> Endpoints | None:
        endpoints = self.known_endpoints()
        services = choice.provider_here(self.settings).describe()
        running = {each.name for each in services if each.running and node in {None, each.name}}
        found = tuple(n for n in (endpoints.nodes if endpoints else ()) if n.name in running)
        return replace(endpoints, nodes=found) if endpoints and found else None

    def _status_of(self, endpoints: Endpoints) -> SealStatus | None:
        try:
            return self.opening.seal_status(endpoints, timeout=_LOOK_SECONDS)
        except OperatorError:
            return None

    # -- looking -----------------------------------------------------------------------------------

    def log_names(self) -> list[str]:
        return choice.provider_here(self.settings).log_names()

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        return choice.provider_here(self.settings).logs(name, tail=tail, follow=follow)

    def _server_lines(self) -> Iterator[str]:
        provider = choice.provider_here(self.settings)
        for service in provider.describe():
            if service.node:
                yield from provider.logs(service.name, tail=_LINES)

    def why_none_leads(self) -> str:
        return self.opening.why_none_leads(datetime.now(UTC) - timedelta(minutes=1))

    def blueprint(self) -> Blueprint:
        """Return the blueprint of the settings, else the last one, else the default."""
        if self.settings.blueprint is not None:
            return Blueprint.load(self.settings.blueprint)
        applied = StackRecord.load(self.data_dir).blueprint
        if applied and Path(applied).exists():
            return Blueprint.load(applied)
        return Blueprint.default()

    def lost_blueprint(self) -> str:
        """Return the path of the last blueprint if that file is missing."""
        applied = StackRecord.load(self.data_dir).blueprint
        own = Path(applied).name != f"{DEFAULT_BLUEPRINT}.toml"  # the default is in the package
        chosen = self.settings.blueprint is not None
        return applied if applied and own and not chosen and not Path(applied).exists() else ""

    @without_frames
    def status(self, blueprint: Blueprint | None = None, *, inside: bool = True) -> StackStatus:
        """Return the stack's state without a lock. `inside` sends requests that are audited."""
        blueprint = blueprint or self.blueprint()
        namespace = self.namespace(blueprint)
        operator = (lambda: self.operator("")) if inside else None
        return look(self.settings, self.opening, blueprint, operator, namespace)


def look(
    settings: Settings,
    opening: Opening,
    blueprint: Blueprint,
    operator: Callable[[], VaultAdmin] | None,
    namespace: str = "",
) -> StackStatus:
    """Return the state of the stack.

    Without `operator`, no audited request is sent, and the content is as last known.
    """
    record = StackRecord.load(settings.data_dir)
    provider = choice.provider_here(settings)
    services = provider.describe()
    serving = {service.name for service in services if service.serves}
    endpoints, seal, proxies = record.endpoints, None, None
    running = any(service.running for service in services)
    complete = not lacking([replace(service, paused=False) for service in services])
    if endpoints is not None and any(node.name in serving for node in endpoints.nodes):
        with contextlib.suppress(HarnessError):
            seal = opening.seal_status(endpoints, timeout=_LOOK_SECONDS)
    if endpoints is not None and "toxiproxy" in serving:
        proxies = client_path.look(endpoints.toxiproxy)
    recorder, trouble = client_path.look_at_recorder(provider, services), opening.keyring_trouble()
    obstacles: tuple[str, ...] = ()
    pending = SealMigrations(settings.data_dir, opening).pending()
    restoring = opening.unfinished_restore()
    if endpoints is not None and complete:
        obstacles = client_path.obstacles(
            endpoints, proxies, answering=seal is not None, recorder=recorder
        )
    cut = provider.cut_nodes()
    obstacles += tuple(map(cut_off, cut))
    open_now = seal is not None and seal.initialised and not seal.sealed
    inside, acting = _Inside(seeded=bool(record.seeded)), None
    with contextlib.ExitStack() as closing:
        if operator and open_now:
            with contextlib.suppress(HarnessError, OSError):
                acting = closing.enter_context(contextlib.closing(operator()))
                inside = _in_namespace(acting, namespace, blueprint)
        nodes = _nodes(record.endpoints, opening, serving, acting)
    return StackStatus(
        state=_state(
            endpoints, seal, running=running, complete=complete, serving=not lacking(services)
        ),
        engine=provider.name,
        choice=choice.reason(settings, record, provider),
        address=endpoints.vault if endpoints else None,
        proxy=endpoints.proxy if endpoints else None,
        toxiproxy=endpoints.toxiproxy if endpoints else None,
        initialised=seal.initialised if seal else None,
        sealed=seal.sealed if seal else None,
        version=seal.version if seal else None,
        product=seal.product if seal else None,
        keyring=opening.keyring_path.exists() and not trouble,
        keyring_trouble=trouble,
        begun=opening.is_begun(),
        seeded=inside.seeded,
        namespace=namespace,
        namespace_trouble=inside.trouble,
        blueprint=record.seeded or None,
        proxies=proxies or (),
        service=next(iter(blueprint.services), ""),
        seal=seal.seal if seal else record.seal,
        services={s.name: s.detail if s.running else "" for s in services},
        obstacles=obstacles,
        # The holder of a seal's key starts before there is data.
        data=holds_data(settings.data_dir) or not any(s.node and s.running for s in services),
        replaced=tuple(service.name for service in services if service.replaced),
        nodes=tuple(replace(node, cut=node.name in cut) for node in nodes),
        migrating_to=pending.target if pending else None,
        restoring=RestoreStatus(
            source=restoring.source, keys_here=restoring.keys_here, remedy=restoring.remedy
        )
        if restoring
        else None,
        ca_cert=str(endpoints.ca_cert) if endpoints and endpoints.ca_cert else None,
        recorder=recorder,
    )


@dataclass(frozen=True)
class _Inside:
    seeded: bool
    trouble: str = ""


def _in_namespace(root: VaultAdmin, namespace: str, blueprint: Blueprint) -> _Inside:
    with contextlib.closing(root.within(namespace)) as operator:
        try:
            check_namespace(operator)
        except NamespaceError as error:
            return _Inside(seeded=False, trouble=error.cause)
        return _Inside(seeded=_contains(operator, blueprint))


def _nodes(
    endpoints: Endpoints | None, opening: Opening, serving: set[str], acting: VaultAdmin | None
) -> tuple[members.NodeStatus, ...]:
    if endpoints is None or endpoints.balancer is None:
        return ()
    keyring = None
    with contextlib.suppress(HarnessError, OSError):
        keyring = opening.keyring()
    return members.look(endpoints, keyring, serving, acting)


def _state(
    endpoints: Endpoints | None,
    seal: SealStatus | None,
    *,
    running: bool,
    complete: bool,
    serving: bool,
) -> State:
    """Return the state as a word.

    `complete`: enough servers run for clients, perhaps paused. `serving`: none of these is paused.
    """
    if not running:
        return "down"
    if endpoints is None:
        return "forgotten"
    if seal is None:
        return "not answering" if complete else "partly up"
    if not seal.initialised:
        return "not initialised"
    if seal.sealed:
        return "sealed"
    return "ready" if serving else "not answering" if complete else "partly up"


def _contains(operator: VaultAdmin, blueprint: Blueprint) -> bool:
    mounts = operator.request("GET", "sys/mounts").get("data", {})
    policies = operator.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    roles = operator.request("LIST", "auth/approle/role").get("data", {}).get("keys", [])
    return (
        all(f"{name}/" in mounts for name in blueprint.mounts)
        and set(blueprint.policies) <= set(policies)
        and set(blueprint.approles) <= set(roles)
    )
