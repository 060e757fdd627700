"""Looking at the local stack, in whatever state it is. Nothing here changes anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from vault_harness.blueprint import Blueprint
from vault_harness.engine import Endpoints, holds_data
from vault_harness.errors import HarnessError
from vault_harness.settings import Settings
from vault_harness.stack import _choice, _way
from vault_harness.stack._opening import Opening
from vault_harness.stack._status import StackStatus, State
from vault_harness.stack.record import StackRecord
from vault_harness.vault import Operator, SealStatus

_LOOK_SECONDS = 2.0


def look(
    settings: Settings,
    opening: Opening,
    blueprint: Blueprint,
    operator: Callable[[], Operator],
) -> StackStatus:
    """What state the stack is in.

    Args:
        settings: Ports, data directory, engine.
        opening: Of its data directory.
        blueprint: What it should contain.
        operator: Opens somebody who may look into the unsealed Vault.
    """
    record = StackRecord.load(settings.data_dir)
    provider = _choice.provider_here(settings)
    services = provider.describe()
    running = {service.name for service in services if service.running}
    serving = {service.name for service in services if service.serves}
    endpoints, seal, proxies = record.endpoints, None, None
    if endpoints is not None and "vault" in serving:
        with contextlib.suppress(HarnessError):
            seal = opening.seal_status(endpoints, timeout=_LOOK_SECONDS)
    if endpoints is not None and "toxiproxy" in serving:
        proxies = _way.look(endpoints.toxiproxy)
    obstacles: tuple[str, ...] = ()
    if endpoints is not None and len(running) == len(services):
        obstacles = _way.obstacles(endpoints, proxies, answering=seal is not None)
    return StackStatus(
        state=_state(endpoints, len(running), len(serving), seal),
        engine=provider.name,
        choice=_choice.reason(settings, record, provider),
        address=endpoints.vault if endpoints else None,
        proxy=endpoints.proxy if endpoints else None,
        toxiproxy=endpoints.toxiproxy if endpoints else None,
        initialised=seal.initialised if seal else None,
        sealed=seal.sealed if seal else None,
        version=seal.version if seal else None,
        product=seal.product if seal else None,
        keyring=opening.keyring_path.exists(),
        seeded=_seeded(blueprint, record, seal, operator),
        blueprint=record.seeded or None,
        proxies=proxies or (),
        services={s.name: s.detail if s.running else "" for s in services},
        obstacles=obstacles,
        data=holds_data(settings.data_dir),
    )


def _seeded(
    blueprint: Blueprint,
    record: StackRecord,
    seal: SealStatus | None,
    operator: Callable[[], Operator],
) -> bool:
    """Whether mounts, policies and roles are there; what was last known if nobody can tell."""
    if seal is not None and seal.initialised and not seal.sealed:
        with contextlib.suppress(HarnessError), contextlib.closing(operator()) as op:
            return _contains(op, blueprint)
    return bool(record.seeded)


def _state(
    endpoints: Endpoints | None, running: int, serving: int, seal: SealStatus | None
) -> State:
    """The state in a word.

    Args:
        endpoints: Where it is, by the record.
        running: How many of the two servers run.
        serving: How many of them could answer: the others are paused.
        seal: What Vault says; None if it says nothing.
    """
    if not running:
        return "down"
    if endpoints is None:
        return "forgotten"
    if seal is None:
        return "not answering" if running > 1 else "partly up"
    if not seal.initialised:
        return "not initialised"
    if seal.sealed:
        return "sealed"
    return "ready" if serving > 1 else "not answering" if running > 1 else "partly up"


def _contains(operator: Operator, blueprint: Blueprint) -> bool:
    mounts = operator.request("GET", "sys/mounts").get("data", {})
    policies = operator.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    roles = operator.request("LIST", "auth/approle/role").get("data", {}).get("keys", [])
    return (
        all(f"{name}/" in mounts for name in blueprint.mounts)
        and set(blueprint.policies) <= set(policies)
        and set(blueprint.approles) <= set(roles)
    )
