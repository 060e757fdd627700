"""The state of the local stack, for users and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vault_harness.errors import named
from vault_harness.local.stack.members import NodeStatus

State = Literal[
    "down", "forgotten", "partly up", "not answering", "not initialised", "sealed", "ready"
]
"""``forgotten``: servers run without a record in the data directory."""


def cut_off(name: str) -> str:
    return f"the node {name} is cut off from the others"


@dataclass(frozen=True, kw_only=True)
class ToxicStatus:
    """One toxic of a proxy, as Toxiproxy reports it."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProxyStatus:
    """One proxy of the stack's Toxiproxy."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[ToxicStatus, ...]


@dataclass(frozen=True, kw_only=True)
class RequestFaultStatus:
    """One fault of single requests.

    Attributes:
        order: See `vault_harness.judge.faults.Order`.
        seen: Number of matching requests.
        acted: Number of affected requests.
        over: Whether it will affect no more requests.
    """

    text: str
    order: dict[str, Any]
    seen: int
    acted: int
    over: bool


@dataclass(frozen=True, kw_only=True)
class RecorderStatus:
    """The HTTP recorder between Toxiproxy and Vault. `defects` are its own errors."""

    listen: str
    running: bool
    answers: bool
    faults: tuple[RequestFaultStatus, ...] = ()
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RestoreStatus:
    """A restore that was interrupted or is under way.

    Attributes:
        source: The folder of its backup; empty if unknown.
        keys_here: Whether the backup's keys are in place. Then only the comparison is left.
    """

    source: str
    keys_here: bool
    remedy: str


@dataclass(frozen=True, kw_only=True)
class StackStatus:
    """Everything that ``invoke status`` knows.

    Attributes:
        address: Vault's base URL; None if nothing was ever started.
        initialised: None if Vault does not answer; the next three likewise.
        keyring: Whether readable unseal keys are here.
        keyring_trouble: Why their file cannot be used.
        begun: Whether its initialisation was interrupted, so that its keys may never have been
            saved.
        seeded: Whether it contains the blueprint; while it is sealed, what was last known.
        obstacles: What stands between a client and Vault, a line each.
        data: Whether Vault's data is in its folder, or no server runs.
        replaced: Running servers whose data was replaced on disk.
        services: Process or container of each server; empty if it does not run.
        ca_cert: None for plain HTTP.
        namespace: Empty for the root namespace.
        namespace_trouble: Why it cannot be used: missing, sealed, or not supported.
        service: One of the blueprint, for examples.
        migrating_to: The target of a pending seal migration.
    """

    state: State
    engine: str
    choice: str
    address: str | None
    proxy: str | None
    toxiproxy: str | None
    initialised: bool | None
    sealed: bool | None
    version: str | None
    product: str | None
    keyring: bool
    seeded: bool
    blueprint: str | None
    proxies: tuple[ProxyStatus, ...]
    services: dict[str, str]
    keyring_trouble: str = ""
    obstacles: tuple[str, ...] = ()
    data: bool = True
    replaced: tuple[str, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    seal: str = "shamir"
    ca_cert: str | None = None
    recorder: RecorderStatus | None = None
    migrating_to: str | None = None
    restoring: RestoreStatus | None = None
    begun: bool = False
    namespace: str = ""
    namespace_trouble: str = ""
    service: str = ""

    @property
    def leader(self) -> str | None:
        return next((node.name for node in self.nodes if node.role == "leader"), None)

    @property
    def cut_nodes(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes if node.cut)

    @property
    def on_the_way(self) -> tuple[str, ...]:
        """The obstacles in front of all nodes."""
        between = {cut_off(name) for name in self.cut_nodes}
        return tuple(line for line in self.obstacles if line not in between)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def next_step(self) -> str:
        """What the user should do next. It never deletes data."""
        if self.migrating_to is not None:
            return named("seal.migrate", self.migrating_to)
        if self.replaced and self.state == "ready":  # while it still runs
            return f"{named('backup')}, or what it holds is lost; then {named('down')}"
        if self.restoring is not None and self.state in {"sealed", "ready"}:
            return self.restoring.remedy
        if self._lacks_keys:
            return self._without_keys
        if self.state == "forgotten" and not self.data:
            # A restart would find an empty folder, and the data is nowhere else.
            return (
                "put the data directory back where it was; its servers still run, and when they "
                f"end ({named('down')}), what they hold is lost"
            )
        steps: dict[State, str] = {
            "down": named("up"),
            "forgotten": named("up"),
            "partly up": named("up"),
            "not answering": self._waking,
            "not initialised": named("up"),
            "sealed": named("unseal"),
        }
        if self.state in steps:
            return steps[self.state]
        if self.obstacles:
            return named("heal")
        if (step := self._next_of_nodes) is not None:
            return step
        if self.namespace_trouble:
            return named("doctor")
        if not self.seeded:
            return named("seed")
        return named("env", self.service) if self.service else named("doctor")

    @property
    def _lacks_keys(self) -> bool:
        """Whether it needs keys that are not here, now or after its next start."""
        if self.keyring or self.state not in {"sealed", "ready"}:
            return False
        # Unsealed without keys: it unsealed itself, or the user took the keys away.
        return self.state == "sealed" or self.begun or bool(self.keyring_trouble)

    @property
    def _without_keys(self) -> str:
        if self.keyring_trouble:
            return named("doctor")
        if self.begun:
            return f"{named('up')}, which says what becomes of a Vault that may be new and empty"
        if self.seal != "shamir":
            return named("restart")
        return f"put init.json back: {named('restore.keys')}"

    @property
    def _waking(self) -> str:
        """The next step if Vault does not answer; it may be paused and unsealed."""
        wakes = f"{named('up')} wakes what was paused"
        if not self.keyring and self.seal == "shamir":  # after its end nobody here can unseal it
            return f"{wakes}; then put init.json back: {named('restore.keys')}"
        return f"{wakes}; else {named('logs')}, {named('down')}, {named('up')}"

    @property
    def _next_of_nodes(self) -> str | None:
        """The step that brings back a missing node; None if all serve."""
        for node in self.nodes:
            if node.role == "down":
                return named("node.start", node.name)
            if node.role == "not answering":
                return named("up")  # which resumes paused servers
            if node.role in {"sealed", "not a member"}:
                return named("unseal")
        return None
