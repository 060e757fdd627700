"""The stack that is here: where it is, who runs it, who acts in it. Looking changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vault_harness import files, namespaces
from vault_harness.blueprint import DEFAULT_BLUEPRINT, Blueprint
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import Endpoints, StackProvider, lacking
from vault_harness.errors import KeyringMissing, NotUp, StackError, VaultIsSealed
from vault_harness.settings import Settings
from vault_harness.stack import _choice, _data_dir
from vault_harness.stack._lock import exclusive, leave_if_empty
from vault_harness.stack._look import look
from vault_harness.stack._opening import Opening
from vault_harness.stack._reopening import Reopening
from vault_harness.stack._status import StackStatus
from vault_harness.stack.record import StackRecord
from vault_harness.vault import Keyring, Operator, cluster
from vault_harness.vault.namespace import moved
from vault_harness.vault.root import standing_operator
from vault_harness.vault.unfinished import UnfinishedRestore

_ACTIVE_SECONDS = 10.0


class StackHere:
    """The stack of a data directory, in any state.

    Args:
        settings: Ports, data directory, engine.

    Attributes:
        settings: As given.
        data_dir: Where everything of it is.
        reopening: Says whether it can be opened again once it is closed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir
        self._opening = Opening(settings.data_dir)
        self.reopening = Reopening(
            settings.data_dir, self._opening, lambda: _choice.provider_here(settings)
        )

    @property
    def keyring_path(self) -> Path:
        """Where the unseal keys are."""
        return self._opening.keyring_path

    @property
    def authority_directory(self) -> Path:
        """Where the certificate authority is, once the stack spoke TLS."""
        return self.data_dir / _data_dir.AUTHORITY_NAME

    def namespace(self, blueprint: Blueprint | None = None) -> str:
        """Where the tasks work: the blueprint's namespace, below that of ``VAULT_NAMESPACE``.

        Args:
            blueprint: As `blueprint` says by default.
        """
        blueprint = blueprint or self.blueprint()
        return namespaces.joined(self.settings.vault_namespace, blueprint.namespace)

    def ids_directory(self, namespace: str | None = None) -> Path:
        """Where the ids of AppRoles are: the data directory, but for those of a namespace.

        Args:
            namespace: As `namespace` says by default.
        """
        wanted = self.namespace() if namespace is None else namespace
        return _data_dir.ids_directory(self.data_dir, wanted)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the stack against other tasks; every verb that changes something does.

        Raises:
            Busy: Another task does not let go.
            SettingsError: The data directory is somebody else's.
        """
        _data_dir.check(self.data_dir)
        there = self.data_dir.exists()
        with exclusive(self.data_dir, timeout=self.settings.lock_timeout):
            try:
                files.keep_from_git(self.data_dir)
                yield
            finally:
                if not there:  # a task that was refused leaves no folder to wonder about
                    leave_if_empty(self.data_dir)

    def provider(self) -> StackProvider:
        """Who runs it: whoever did last, unless nothing of that is left.

        Raises:
            StackError: The Vault here is another engine's than the one asked for.
        """
        return _choice.provider_wanted(self.settings)

    # -- the running stack -------------------------------------------------------------------------

    def endpoints(self) -> Endpoints:
        """Where the running stack is.

        Raises:
            NotUp: Nothing runs, or only part of it.
        """
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
    def operator(self, namespace: str | None = None, *, there: bool = True) -> Operator:
        """Who acts in the running, unsealed Vault: root, or once that is revoked the operator.

        Args:
            namespace: Where; as `namespace` says by default. The empty one is for what is the whole
                server's.
            there: See that it is there, and open.

        Raises:
            NotUp: It does not run.
            VaultIsSealed: It must be unsealed first.
            KeyringMissing: There is no token that is good.
            NamespaceError: The namespace is not there or sealed, or this server has none.
        """
        wanted = self.namespace() if namespace is None else namespace
        endpoints = self.endpoints()
        status = self._opening.seal_status(endpoints)
        keys = self.keyring_path.exists()
        by_itself = status.initialised and status.kind == "recovery"
        if status.sealed and not keys and not by_itself:
            raise self._opening.keyring_missing()
        if status.sealed:
            raise VaultIsSealed(
                "this Vault is sealed",
                looked_at=endpoints.vault,
                remedy=named("unseal" if keys else "restart"),
            )
        keyring = self._opening.keyring()
        with cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as nodes:
            address = cluster.wait_for_active(nodes, timeout=_ACTIVE_SECONDS).address
        try:
            acting = standing_operator(address, keyring, self.data_dir, ca_cert=endpoints.ca_cert)
        except KeyringMissing as error:
            if self._opening.keys_never_kept():  # it opened itself, and nobody has a token
                raise self._opening.keyring_missing() from None
            raise self._opening.half_restored(error) from None
        return moved(acting, wanted, there=there)

    def known_endpoints(self) -> Endpoints | None:
        """Where the stack is, or was last; None if nothing was ever started."""
        return StackRecord.load(self.data_dir).endpoints

    @without_frames
    def keyring(self) -> Keyring | None:
        """The keyring, or None if there is none."""
        return self._opening.keyring()

    def keys_never_kept(self) -> str:
        """What is done about a Vault whose keys an ended `up` has not kept; empty for others."""
        return self._opening.keys_never_kept()

    def unfinished_restore(self) -> UnfinishedRestore | None:
        """A restore that was ended half-way, or is under way."""
        return self._opening.unfinished_restore()

    def check_restored(self) -> None:
        """See that no restore was ended before the keys of its backup were in their place.

        Raises:
            StackError: One was: the keys that are here may be no longer this Vault's.
        """
        unfinished = self.unfinished_restore()
        if unfinished is not None and not unfinished.keys_here:
            raise StackError(
                "a restore was ended half-way, and its backup's keys are not here yet",
                looked_at=str(unfinished.note),
                remedy=f"{unfinished.remedy}. {unfinished.otherwise}",
            )

    # -- looking -----------------------------------------------------------------------------------

    def log_names(self) -> list[str]:
        """What `logs` takes."""
        return _choice.provider_here(self.settings).log_names()

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of a log."""
        return _choice.provider_here(self.settings).logs(name, tail=tail, follow=follow)

    def blueprint(self) -> Blueprint:
        """The one of the settings, else the one that was applied last, else the default one."""
        if self.settings.blueprint is not None:
            return Blueprint.load(self.settings.blueprint)
        applied = StackRecord.load(self.data_dir).blueprint
        if applied and Path(applied).exists():
            return Blueprint.load(applied)
        return Blueprint.default()

    def lost_blueprint(self) -> str:
        """The file that was applied last, if it is one's own and is gone; empty else."""
        applied = StackRecord.load(self.data_dir).blueprint
        own = Path(applied).name != f"{DEFAULT_BLUEPRINT}.toml"  # that one moves with the package
        chosen = self.settings.blueprint is not None
        return applied if applied and own and not chosen and not Path(applied).exists() else ""

    @without_frames
    def status(self, blueprint: Blueprint | None = None) -> StackStatus:
        """What state it is in. Changes nothing and takes no lock.

        Args:
            blueprint: What it should contain; as `blueprint` says by default.
        """
        blueprint = blueprint or self.blueprint()
        namespace = self.namespace(blueprint)
        return look(self.settings, self._opening, blueprint, lambda: self.operator(""), namespace)
