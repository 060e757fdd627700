"""Beyond the lab: stand-ins for Vault, a second host, dead connections, a client's footprint."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vault_harness.faults import Fault, Signature, process_tree
from vault_harness.scenario.history import History, RequestKind
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.recorder import Recorder, Stub
from vault_harness.scenario.verdict import Finding, NotClaimed
from vault_harness.vault import approle


@contextmanager
def instead_of_vault(lab: Lab, name: str, *stubs: Stub) -> Iterator[Fault]:
    """The recorder answers in Vault's place while the block runs.

    For what neither Vault nor Toxiproxy can be made to say. It counts as a fault only once the
    subject has been given such an answer.

    Args:
        lab: The scenario.
        name: What that is, for the report.
        stubs: The answers.
    """
    with ExitStack() as set_up:
        for stub in stubs:
            set_up.enter_context(lab.recorder.stub(stub))
        fault = lab.history.begin_fault(name, Signature(stubbed=True))
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)


@dataclass(frozen=True)
class OtherHost:
    """A second way to the same Vault, under a name that the subject was never told.

    Attributes:
        address: Its base URL.
        history: What reached it.
        paths: Where a client asks for what, by kind of request.
    """

    address: str
    history: History
    paths: Mapping[RequestKind, str]

    def redirects(self) -> tuple[Stub, ...]:
        """Answers that send the subject there, as a standby does that does not forward (307)."""
        return tuple(
            Stub(
                status=307,
                headers={"Location": f"{self.address}/v1/{path}"},
                kinds=frozenset({kind}),
            )
            for kind, path in self.paths.items()
        )

    def findings(self) -> list[Finding]:
        """A finding for each kind of credential that came here."""
        promise = "no token and no secret-id goes to a host that nobody configured"
        return [
            Finding(
                promise,
                f"a {exchange.kind} came to {self.address} with {label}",
                exchange.began,
                harm=True,
            )
            for exchange in self.history.find()
            if (label := exchange.secret_id or exchange.token)
        ][:2]


@contextmanager
def other_host(lab: Lab) -> Iterator[OtherHost]:
    """Another host on the network, that leads to the same Vault and notes what it is given."""
    history = History(started_wall=lab.history.started_wall, started=lab.history.started)
    recorder = Recorder(history, lab.secrets, upstream=lab.recorder.upstream)
    try:
        # By another name than the subject's VAULT_ADDR, which is a number.
        yield OtherHost(
            f"http://localhost:{recorder.port}",
            history,
            {
                "read": f"{lab.entry.mount}/data/{lab.entry.path}",
                "renew": "auth/token/renew-self",
                "lookup": "auth/token/lookup-self",
                "login": "auth/approle/login",
                "revoke": "auth/token/revoke-self",
                "capabilities": "sys/capabilities-self",
                "unwrap": "sys/wrapping/unwrap",
                "lease": "sys/leases/renew",
                "write": f"{lab.entry.mount}/data/{lab.entry.path}",
                "metadata": f"{lab.entry.mount}/metadata/{lab.entry.path}",
                "status": "sys/health",
                "other": "sys/internal/ui/mounts",
            },
        )
    finally:
        recorder.close()


@contextmanager
def dead_connections(lab: Lab) -> Iterator[Fault]:
    """Connections that are open now never answer again, and do not end; new ones work.

    As when a firewall forgets an idle connection. Toxiproxy cannot do that: its toxics act on new
    connections too.

    Raises:
        NotClaimed: The subject keeps none open.
    """
    fault = lab.history.begin_fault("idle connections dead", Signature(unanswered=True))
    if not lab.recorder.deafen():
        raise NotClaimed("the subject keeps no connection open between requests")
    try:
        yield fault
    finally:
        lab.history.end_fault(fault)


@contextmanager
def vault_gone(lab: Lab) -> Iterator[Fault]:
    """Vault is gone behind its proxy: connections are accepted and end at once.

    Unlike a refused connection, each one can be counted.
    """
    with lab.recorder.away():
        fault = lab.history.begin_fault("Vault gone behind its proxy", Signature(unanswered=True))
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)


def allow_writes(lab: Lab, path: str) -> None:
    """Let tokens that the role gets from now on write one secret."""
    client = lab.stack.operator.client
    rules = (
        f'path "{lab.entry.mount}/data/{path}" {{ capabilities = ["create", "update", "read"] }}'
    )
    client.sys.create_or_update_policy("scenario-writer", rules)
    address = f"/v1/auth/approle/role/{lab.entry.approle}"
    role = client.adapter.get(address)["data"]
    policies = [*role["token_policies"], "scenario-writer"]
    client.adapter.post(address, json={"token_policies": policies})


def version_of(lab: Lab, path: str) -> int:
    """The number of a secret's latest version; 0 if there is none."""
    answer = lab.stack.operator.client.adapter.request(
        "GET", f"/v1/{lab.entry.mount}/metadata/{path}", raise_exception=False
    )
    data = answer.get("data") if isinstance(answer, dict) else None
    return int(data["current_version"]) if data else 0


def lockout(lab: Lab) -> set[str]:
    """The subject's role, in words, if failed logins have locked it for everybody."""
    locked = approle.locked(lab.stack.operator)
    role = lab.entry.approle
    return {f"{role} is in sys/locked-users" for found in locked if found.role_id == lab.role_id}


@dataclass(frozen=True)
class Footprint:
    """What a subject holds of its machine's resources.

    Attributes:
        threads: Of all its processes; the harness's own for a subject within it.
        files: Open file descriptors of them, sockets among them.
        connections: Its connections to the proxy; 0 where Toxiproxy does not tell.
    """

    threads: int
    files: int
    connections: int

    def growth(self, later: Footprint, *, spare: int) -> set[str]:
        """What grew by more than `spare`, in words."""
        pairs = {
            "threads": (self.threads, later.threads),
            "open files": (self.files, later.files),
            "connections": (self.connections, later.connections),
        }
        return {
            f"{name}: {before} before, {after} after"
            for name, (before, after) in pairs.items()
            if after > before + spare
        }


def footprint(lab: Lab) -> Footprint:
    """The subject's footprint now; nothing else should be under way.

    Raises:
        NotClaimed: This machine does not tell (there is no ``/proc``).
    """
    if not Path("/proc/self/fd").is_dir():
        raise NotClaimed("what a process holds can only be counted where there is /proc")
    alive = lab.environment.toxiproxy.connections(lab.proxy.name) or []
    connections = sum(connection.closed is None for connection in alive)
    pid = lab.client.subject.pid
    if pid is None:
        files = len(list(Path("/proc/self/fd").iterdir()))
        return Footprint(threading.active_count(), files, connections)
    threads = files = 0
    for process in process_tree(pid):
        with suppress(psutil.Error):  # it ended meanwhile
            threads += process.num_threads()
            files += process.num_fds()
    return Footprint(threads, files, connections)
