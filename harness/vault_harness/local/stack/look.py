"""Look at the local stack in any state. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from vault_harness.errors import HarnessError, NamespaceError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.provider import Endpoints, holds_data, lacking
from vault_harness.local.stack import choice as choice_module
from vault_harness.local.stack import client_path, members, recording
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.seal_migration import SealMigrations
from vault_harness.local.stack.status import RestoreStatus, StackStatus, State, cut_off
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.namespace import check as check_namespace
from vault_harness.settings import Settings

_LOOK_SECONDS = 2.0


def look(
    settings: Settings,
    opening: Opening,
    blueprint: Blueprint,
    operator: Callable[[], VaultAdmin] | None,
    namespace: str = "",
) -> StackStatus:
    """Return the state of the stack.

    `operator` opens an operator in the root namespace of the unsealed Vault. Without it, no audited
    request is sent, and the content is as last known.
    """
    record = StackRecord.load(settings.data_dir)
    provider = choice_module.provider_here(settings)
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
    recorder, trouble = recording.look(provider, services), opening.keyring_trouble()
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
        choice=choice_module.reason(settings, record, provider),
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
        # The holder of a seal's key starts before there is any data.
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
    """Whether the blueprint's content exists, and what is wrong with the namespace."""

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
    """Return the nodes of a cluster; empty for a single server."""
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

    Args:
        endpoints: The addresses in the record.
        seal: The seal status; None if Vault does not answer.
        running: Whether any server runs.
        complete: Whether enough servers run for clients to reach Vault, perhaps paused.
        serving: Whether enough servers run unpaused.
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
