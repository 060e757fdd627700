"""The stack of ``invoke up``: a Vault and a Toxiproxy that outlive the task, keys on disk."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.blueprint import Blueprint
from vault_harness.commands import named
from vault_harness.engine import (
    PROXY_NAME,
    Endpoints,
    LogName,
    StackProvider,
    choose,
    open_provider,
)
from vault_harness.errors import (
    HarnessError,
    KeyringMissing,
    NotUp,
    SettingsError,
    StackError,
    ToxiproxyError,
    VaultIsSealed,
)
from vault_harness.settings import Settings
from vault_harness.stack._guard import LOCK_NAME, exclusive, uninterrupted
from vault_harness.stack._service_ids import hand_out_ids
from vault_harness.stack._status import ProxyStatus, StackStatus, State, ToxicStatus
from vault_harness.stack.record import StackRecord, StackRecordFile
from vault_harness.toxiproxy import Toxiproxy
from vault_harness.vault import Change, Keyring, Operator, SealStatus, apply, approle
from vault_harness.vault.apply import Action, What
from vault_harness.vault.root import OPERATOR_TOKEN_NAME, needing_root, standing_operator

KEYRING_NAME = "init.json"
_INIT_MARKER = "init.started"
_OURS = (KEYRING_NAME, "stack.json", LOCK_NAME, _INIT_MARKER, "vault", "toxiproxy")
_UNSEAL_SECONDS = 30.0


class LocalStack:
    """The verbs behind the tasks. Each may be called in any state and says what is wrong with it.

    Args:
        settings: Ports, data directory, engine.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir
        self._memory = StackRecordFile(settings.data_dir)

    @property
    def keyring_path(self) -> Path:
        """Where the unseal keys are."""
        return self.data_dir / KEYRING_NAME

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the stack against other tasks; every verb that changes something does.

        Raises:
            Busy: Another task does not let go.
        """
        self._check_data_dir()
        with exclusive(self.data_dir, timeout=self.settings.lock_timeout):
            yield

    def provider(self) -> StackProvider:
        """Who runs it: whoever did last, unless nothing of that is left.

        Raises:
            StackError: Another engine than the one asked for runs it.
        """
        record = StackRecord.load(self.data_dir)
        wanted = self.settings.engine
        if record.engine is None or wanted == record.engine:
            return open_provider(self.settings, self._memory)
        present = open_provider(self.settings, self._memory, name=record.engine)
        if wanted == "auto":
            return present
        if any(service.running for service in present.describe()):
            raise StackError(
                f"a stack of the {record.engine} engine runs, and HARNESS_ENGINE asks for {wanted}",
                looked_at=str(self.data_dir / "stack.json"),
                remedy=f"HARNESS_ENGINE={record.engine} {named('destroy')} ends it and its data; "
                "or unset HARNESS_ENGINE to use it",
            )
        return open_provider(self.settings, self._memory)

    def _check_data_dir(self) -> None:
        """A data directory with other people's files in it would be made 0700 and written to."""
        if not self.data_dir.is_dir():
            return
        present = {entry.name for entry in self.data_dir.iterdir()}
        if present and present.isdisjoint(_OURS):
            raise SettingsError(
                f"{self.data_dir} holds other files than the stack's",
                looked_at=f"HARNESS_DATA_DIR, {', '.join(sorted(present)[:5])}",
                remedy="name an empty or a new folder",
            )

    # -- up and down ------------------------------------------------------------------------------

    def up(self) -> Endpoints:
        """Start what does not run, initialise what is new, unseal what is sealed. Safe to repeat.

        Raises:
            KeyringMissing: This Vault is initialised and its keys are not here.
            PortTaken: Somebody else listens on one of the ports.
            HarnessError: What the engine or Vault say.
        """
        with self.held():
            provider = self.provider()
            choice = self._choice(StackRecord.load(self.data_dir), provider)
            ran_before = any(service.running for service in provider.describe())
            endpoints = provider.start()
            try:
                endpoints = self._open(provider, endpoints)
            except HarnessError:
                if not ran_before:
                    provider.stop()
                raise
            self._ensure_proxy(endpoints)
            record = StackRecord.load(self.data_dir)
            record.choice = choice
            record.save(self.data_dir)
            return endpoints

    def _open(self, provider: StackProvider, endpoints: Endpoints) -> Endpoints:
        status = self._seal_status(endpoints)
        if status.initialised and not self.keyring_path.exists():
            if not self._marker.exists():
                raise self._keyring_missing()
            # A task was killed between Vault handing out the keys and their being written. Nobody
            # ever had them, so nothing can be in this Vault.
            provider.destroy()
            endpoints = provider.start()
            status = self._seal_status(endpoints)
        if not status.initialised:
            self._initialise(endpoints)
        self._unseal(endpoints)
        return endpoints

    @property
    def _marker(self) -> Path:
        return self.data_dir / _INIT_MARKER

    def _initialise(self, endpoints: Endpoints) -> None:
        if self.keyring_path.exists():
            # Keys of a Vault whose data is gone; never overwritten, it may come back.
            kept = self.keyring_path.with_name(f"{KEYRING_NAME}.{time.strftime('%Y%m%d-%H%M%S')}")
            self.keyring_path.rename(kept)
        files.write_private(self._marker, "")
        record = StackRecord.load(self.data_dir)
        record.seeded = ""
        record.save(self.data_dir)
        with contextlib.closing(Operator(endpoints.vault)) as operator, uninterrupted():
            operator.init().save(self.keyring_path)

    def _unseal(self, endpoints: Endpoints) -> None:
        if not self.keyring_path.exists():
            raise self._keyring_missing()
        keyring = Keyring.load(self.keyring_path)
        self._marker.unlink(missing_ok=True)
        with contextlib.closing(Operator(endpoints.vault)) as operator:
            operator.unseal(keyring, timeout=_UNSEAL_SECONDS)

    def _keyring_missing(self) -> KeyringMissing:
        return KeyringMissing(
            "this Vault is initialised, but its unseal keys are not here: nobody can open it",
            looked_at=str(self.keyring_path),
            remedy=f"{named('restore.keys')} puts them back from a backup; without one all is "
            f"lost: {named('destroy')}, then {named('up')} start a new one",
        )

    def _ensure_proxy(self, endpoints: Endpoints) -> None:
        """The proxy in front of Vault, should somebody have deleted or moved it; toxics stay."""
        toxiproxy = Toxiproxy(endpoints.toxiproxy)
        listen, upstream = endpoints.node.proxy_listen, endpoints.node.upstream
        present = toxiproxy.proxies().get(PROXY_NAME)
        if present is None:
            toxiproxy.create(PROXY_NAME, listen=listen, upstream=upstream)
        # Only the port: a server may spell the address otherwise than it was told.
        elif (_port(present.listen), present.upstream) != (_port(listen), upstream):
            present.update(listen=listen, upstream=upstream)

    def down(self) -> list[str]:
        """End the servers and what a crashed `up` left; the data stays. Returns what was ended."""
        with self.held():
            return self.provider().stop()

    def destroy(self) -> list[str]:
        """`down`, and delete data, keys and ids. Returns what was removed."""
        with self.held():
            removed = self.provider().destroy()
            for path in sorted(self.data_dir.iterdir()):
                if _is_state(path):
                    path.unlink()
                    removed.append(str(path))
            return removed

    # -- the sealed and the open Vault -----------------------------------------------------------

    def endpoints(self) -> Endpoints:
        """Where the running stack is.

        Raises:
            NotUp: Nothing runs, or only part of it.
        """
        endpoints = StackRecord.load(self.data_dir).endpoints
        services = self.provider().describe()
        missing = [service.name for service in services if not service.serves]
        if endpoints is None or missing:
            raise NotUp(
                "the stack is not up"
                + (f": {' and '.join(missing)} does not run" if len(missing) == 1 else ""),
                looked_at=str(self.data_dir),
                remedy=named("up"),
            )
        return endpoints

    def operator(self) -> Operator:
        """Who acts in the running, unsealed Vault: root, or once that is revoked the operator.

        Raises:
            NotUp: It does not run.
            VaultIsSealed: It must be unsealed first.
            KeyringMissing: There is no keyring, or neither token is good.
        """
        endpoints = self.endpoints()
        status = self._seal_status(endpoints)
        if not self.keyring_path.exists():
            raise self._keyring_missing()
        if status.sealed:
            raise VaultIsSealed(
                "this Vault is sealed", looked_at=endpoints.vault, remedy=named("unseal")
            )
        return standing_operator(endpoints.vault, Keyring.load(self.keyring_path), self.data_dir)

    def seal(self) -> None:
        """Seal it; does nothing if it is sealed."""
        with self.held():
            if not self._seal_status(self.endpoints()).sealed:
                with contextlib.closing(self.operator()) as operator:
                    operator.seal()

    def unseal(self) -> None:
        """Unseal it with the keyring; does nothing if it is unsealed."""
        with self.held():
            self._unseal(self.endpoints())

    def restart(self) -> None:
        """Restart Vault, which leaves it sealed."""
        with self.held():
            self.endpoints()
            self.provider().restart_vault()

    def seed(
        self,
        blueprint: Blueprint,
        *,
        what: What = "everything",
        overwrite: bool = False,
        dry: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> list[Change]:
        """Apply a blueprint, and write the ids of its AppRoles to files.

        Args:
            blueprint: What the Vault must contain.
            what: ``access`` for policies, AppRoles and ids alone: secrets are neither read nor
                written.
            overwrite: Replace values that are there. Ask before: `values_replaced` of what a dry
                run returns says how many.
            dry: Change nothing; return what would be done.
            environ: Where ``env`` values come from; default is the environment.

        Raises:
            HarnessError: As `operator` and `apply` say.
        """
        environ = os.environ if environ is None else environ
        with (
            self.held(),
            contextlib.closing(self.operator()) as operator,
            needing_root(operator, named("seed")),
        ):
            changes = apply(
                operator,
                blueprint,
                what=what,
                overwrite=overwrite,
                dry=dry,
                environ=environ,
                audit_path=self.provider().server_audit_path,
            )
            made = {
                change.name
                for change in changes
                if change.kind == "approle" and change.action == "created"
            }
            for role in blueprint.approles:
                changes.append(self._credentials(operator, role, new=role in made, dry=dry))
            if not dry:
                hand_out_ids(self.data_dir, blueprint.services)
            if not dry and what == "everything":
                record = StackRecord.load(self.data_dir)
                record.seeded = blueprint.name
                record.blueprint = str(blueprint.source or "")
                record.save(self.data_dir)
        return changes

    def _credentials(self, operator: Operator, role: str, *, new: bool, dry: bool) -> Change:
        """Write a role's ids to files where none are that work."""
        _, secret_file = approle.credential_files(role, self.data_dir)
        if not dry:
            written = approle.write_credentials(operator, role, self.data_dir).written
        else:
            written = new or not approle.credentials_work(operator, role, self.data_dir)
        action: Action = "created" if written else "unchanged"
        return Change("secret-id", role, action, secret_file.name)

    def logs(
        self, name: LogName, *, tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of a log."""
        return self.provider().logs(name, tail=tail, follow=follow)

    # -- looking ---------------------------------------------------------------------------------

    def blueprint(self) -> Blueprint:
        """The one of the settings, else the one that was applied last, else the default one."""
        if self.settings.blueprint is not None:
            return Blueprint.load(self.settings.blueprint)
        applied = StackRecord.load(self.data_dir).blueprint
        if applied and Path(applied).exists():
            return Blueprint.load(applied)
        return Blueprint.default()

    def status(self, blueprint: Blueprint | None = None) -> StackStatus:
        """What state it is in. Changes nothing and takes no lock.

        Args:
            blueprint: What it should contain; as `blueprint` says by default.
        """
        blueprint = blueprint or self.blueprint()
        record = StackRecord.load(self.data_dir)
        provider = self.provider()
        services = provider.describe()
        running = {service.name for service in services if service.serves}
        endpoints = record.endpoints
        seal = None
        if endpoints is not None and "vault" in running:
            with contextlib.suppress(HarnessError):
                seal = self._seal_status(endpoints, timeout=2.0)
        up = endpoints is not None and "toxiproxy" in running
        return StackStatus(
            state=_state(len(running), seal),
            engine=provider.name,
            choice=self._choice(record, provider),
            address=endpoints.vault if endpoints else None,
            proxy=endpoints.proxy if endpoints else None,
            toxiproxy=endpoints.toxiproxy if endpoints else None,
            initialised=seal.initialised if seal else None,
            sealed=seal.sealed if seal else None,
            version=seal.version if seal else None,
            product=seal.product if seal else None,
            keyring=self.keyring_path.exists(),
            seeded=self._seeded(blueprint, record, seal),
            blueprint=record.seeded or None,
            proxies=_proxies(endpoints.toxiproxy) if endpoints and up else (),
            services={s.name: s.detail if s.running else "" for s in services},
        )

    def _choice(self, record: StackRecord, provider: StackProvider) -> str:
        if self.settings.engine == "auto" and record.engine == provider.name and record.choice:
            return record.choice
        return choose(self.settings, lasting=True)[1]

    def _seal_status(self, endpoints: Endpoints, *, timeout: float = 10.0) -> SealStatus:
        with contextlib.closing(Operator(endpoints.vault, timeout=timeout)) as operator:
            return operator.seal_status()

    def _seeded(self, blueprint: Blueprint, record: StackRecord, seal: SealStatus | None) -> bool:
        """Whether mounts, policies and roles are there; what was last known if nobody can tell."""
        last_known = bool(record.seeded)
        if seal is None or not seal.initialised or seal.sealed or not self.keyring_path.exists():
            return last_known
        try:
            with contextlib.closing(self.operator()) as operator:
                return _contains(operator, blueprint)
        except HarnessError:
            return last_known


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _is_state(path: Path) -> bool:
    """Whether `destroy` deletes it; backups and reports that other tasks wrote beside it stay."""
    return path.is_file() and (
        path.name in {KEYRING_NAME, "stack.json", _INIT_MARKER, OPERATOR_TOKEN_NAME}
        or path.name.endswith(("-role-id", "-secret-id"))
    )


def _state(running: int, seal: SealStatus | None) -> State:
    if not running:
        return "down"
    if seal is None:
        return "not answering" if running > 1 else "partly up"
    if not seal.initialised:
        return "not initialised"
    if seal.sealed:
        return "sealed"
    return "ready" if running > 1 else "partly up"


def _contains(operator: Operator, blueprint: Blueprint) -> bool:
    mounts = operator.request("GET", "sys/mounts").get("data", {})
    policies = operator.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    roles = operator.request("LIST", "auth/approle/role").get("data", {}).get("keys", [])
    return (
        all(f"{name}/" in mounts for name in blueprint.mounts)
        and set(blueprint.policies) <= set(policies)
        and set(blueprint.approles) <= set(roles)
    )


def _proxies(api: str) -> tuple[ProxyStatus, ...]:
    try:
        present = Toxiproxy(api, timeout=2.0).proxies()
        return tuple(
            ProxyStatus(
                name=proxy.name,
                listen=proxy.listen,
                upstream=proxy.upstream,
                enabled=proxy.enabled,
                toxics=tuple(
                    ToxicStatus(
                        name=toxic.name,
                        type=toxic.type,
                        stream=toxic.stream,
                        toxicity=toxic.toxicity,
                        attributes=toxic.attributes.as_json(),
                    )
                    for toxic in proxy.toxics()
                ),
            )
            for proxy in present.values()
        )
    except ToxiproxyError:
        return ()
