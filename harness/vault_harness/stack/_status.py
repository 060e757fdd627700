"""What state the local stack is in, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vault_harness.commands import named
from vault_harness.stack._members import NodeStatus

State = Literal[
    "down", "forgotten", "partly up", "not answering", "not initialised", "sealed", "ready"
]
"""``forgotten``: servers run, and the data directory knows nothing of them."""


def cut_off(name: str) -> str:
    """What `StackStatus.obstacles` says of a node that was cut off."""
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
        text: What is done to which requests, for a person.
        order: The same as data; see `vault_harness.faults.Order`.
        seen: How many such requests have come.
        acted: On how many of them it has acted.
        over: Whether it will act on none any more.
    """

    text: str
    order: dict[str, Any]
    seen: int
    acted: int
    over: bool


@dataclass(frozen=True, kw_only=True)
class RecorderStatus:
    """The HTTP recorder between Toxiproxy and Vault.

    Attributes:
        listen: ``host:port`` that it listens on.
        running: Whether its process runs.
        answers: Whether it tells what it was ordered.
        faults: What that is.
        defects: What went wrong in the recorder itself.
    """

    listen: str
    running: bool
    answers: bool
    faults: tuple[RequestFaultStatus, ...] = ()
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RestoreStatus:
    """A restore that was ended half-way, or is under way.

    Attributes:
        source: The folder of its backup; empty where that was not noted.
        keys_here: Whether the backup's keys are in their place: it is compared then, and done.
        remedy: What goes on with it, for a person.
    """

    source: str
    keys_here: bool
    remedy: str


@dataclass(frozen=True, kw_only=True)
class StackStatus:
    """Everything that ``invoke status`` knows.

    Attributes:
        state: In a word.
        engine: Who runs it, or would run it.
        choice: Why that engine.
        address: Vault's base URL; None if nothing was ever started.
        proxy: Vault's base URL through Toxiproxy.
        toxiproxy: Base URL of Toxiproxy's API.
        initialised: None if Vault does not answer; likewise the next three.
        sealed: Whether it needs unsealing.
        version: Vault's version.
        product: ``openbao`` or ``vault``.
        keyring: Whether the unseal keys are here.
        begun: Whether it was being initialised when a task was ended, so that nobody may ever have
            had its keys.
        seeded: Whether it contains what the blueprint says; while it is sealed, what was last
            known.
        blueprint: Name of the blueprint that was applied last.
        proxies: Toxiproxy's proxies with their toxics.
        obstacles: What stands between a client and Vault, a line each: a proxy that is disabled or
            gone, a toxic that was left, a Toxiproxy that does not answer, a node that was cut off.
        data: Whether Vault's data is where a started server looks for it, or none runs.
        replaced: Names of the servers under which their data was replaced: what they hold is in no
            folder.
        services: Process or container of each server, empty for one that does not run.
        nodes: Each node of a cluster; empty for a single server.
        seal: ``shamir``, or what it unseals itself with.
        ca_cert: The file with whom clients trust; None for a Vault in plain HTTP.
        recorder: The HTTP recorder that faults of single requests have started; None without one.
        namespace: Where the tasks work; empty for the root namespace.
        namespace_trouble: Why they cannot: it is not there, is sealed, or this server has none.
        service: One that the blueprint names, for an example; empty where it names none.
        migrating_to: The seal to which a migration that was ended half-way leads; None without one.
        restoring: A restore that is not done; None without one.
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
        """Name of the node of a cluster that leads; None while none does."""
        return next((node.name for node in self.nodes if node.role == "leader"), None)

    @property
    def cut_nodes(self) -> tuple[str, ...]:
        """Names of the nodes that were cut off from the others."""
        return tuple(node.name for node in self.nodes if node.cut)

    @property
    def on_the_way(self) -> tuple[str, ...]:
        """Those obstacles that a client meets before any node: all but nodes that are cut off."""
        between = {cut_off(name) for name in self.cut_nodes}
        return tuple(line for line in self.obstacles if line not in between)

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    @property
    def next_step(self) -> str:
        """What a person would do next. Nothing of it deletes anything."""
        if self.migrating_to is not None:
            return named("seal.migrate", self.migrating_to)
        if self.replaced and self.state == "ready":  # before anything ends it
            return f"{named('backup')}, or what it holds is lost; then {named('down')}"
        if self.restoring is not None and self.state in {"sealed", "ready"}:
            return self.restoring.remedy
        if self.state == "sealed" and not self.keyring:
            return self._without_keys
        if self.state == "ready" and not self.keyring and self.begun:  # it opened itself
            return self._without_keys
        if self.state == "forgotten" and not self.data:
            # Started anew they would find an empty place, and what they hold is nowhere else.
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
    def _without_keys(self) -> str:
        """What is done about one that is sealed, and whose keys are not here."""
        if self.begun:
            return f"{named('up')}, which says what becomes of a Vault that may be new and empty"
        if self.seal != "shamir":
            return named("restart")
        return f"put init.json back: {named('restore.keys')}"

    @property
    def _waking(self) -> str:
        """What is done about one that does not answer: if it is paused, it may be open still."""
        wakes = f"{named('up')} wakes what was paused"
        if not self.keyring and self.seal == "shamir":  # once it has ended, nobody here opens it
            return f"{wakes}; then put init.json back: {named('restore.keys')}"
        return f"{wakes}; else {named('logs')}, {named('down')}, {named('up')}"

    @property
    def _next_of_nodes(self) -> str | None:
        """What brings back a node of a cluster that serves all the same; None if none is away."""
        for node in self.nodes:
            if node.role == "down":
                return named("node.start", node.name)
            if node.role == "not answering":
                return named("up")  # which wakes what was paused
            if node.role in {"sealed", "not a member"}:
                return named("unseal")
        return None
