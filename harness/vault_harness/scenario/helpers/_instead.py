"""Who answers in Vault's place, or is another host: stand-ins, a second way."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from math import inf

from vault_harness.addresses import base_url
from vault_harness.engine import NodeSpec
from vault_harness.faults import Fault, RequestKind, Signature, Stub
from vault_harness.scenario.helpers._leaders import leading_to
from vault_harness.scenario.history import History
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.recorder import Recorder
from vault_harness.scenario.verdict import Finding
from vault_harness.vault import Operator


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


@contextmanager
def uninitialised(lab: Lab) -> Iterator[Fault]:
    """Clients are led to a Vault that nobody has initialised, while the block runs.

    It answers 501 for its health, and 503 "Vault is sealed" for all the rest. That somebody has
    initialised it is harm: the keys to all secrets to come are then in that hand.
    """
    name = f"{lab.entry.id.lower()}-new"
    node = lab.environment.engine.node(
        NodeSpec(name=name, directory=lab.directory / "new", audit=False)
    )
    with ExitStack() as undo:
        undo.callback(getattr(node, "close", lambda: None))
        node.start()
        with leading_to(lab, node):
            signature = Signature(statuses=frozenset({501, 503}))
            fault = lab.history.begin_fault("Vault not initialised", signature)
            yield fault
        lab.history.end_fault(fault)
        with closing(Operator(node.address)) as operator:
            if operator.seal_status().initialised:
                text = "it is initialised, and whoever did it has its keys"
                promise = "nobody initialises a Vault but its operator"
                lab.note(Finding(promise, text, fault.end, harm=True))


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
def silent_host(lab: Lab) -> Iterator[OtherHost]:
    """Another host that takes connections and never answers, as a leader that stands still."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as silent,
        other_host(lab, upstream=f"127.0.0.1:{silent.getsockname()[1]}") as host,
    ):
        yield host


@contextmanager
def other_host(lab: Lab, *, upstream: str | None = None) -> Iterator[OtherHost]:
    """Another host on the network, that notes what it is given.

    Args:
        lab: The scenario.
        upstream: ``host:port`` of what it leads to; the same Vault by default.
    """
    history = History(started_wall=lab.history.started_wall, started=lab.history.started)
    recorder = Recorder(
        history,
        lab.secrets,
        upstream=upstream or lab.recorder.upstream,
        tls=lab.recorder.tls,
        upstream_tls=None if upstream else lab.recorder.upstream_tls,
    )
    try:
        # By another name than the subject's VAULT_ADDR, which is a number.
        yield OtherHost(
            base_url(f"localhost:{recorder.port}", tls=recorder.tls is not None),
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
                "credential": "database/creds/app",
                "write": f"{lab.entry.mount}/data/{lab.entry.path}",
                "metadata": f"{lab.entry.mount}/metadata/{lab.entry.path}",
                "status": "sys/health",
                "other": "sys/internal/ui/mounts",
            },
        )
    finally:
        recorder.close()


@contextmanager
def vault_gone(lab: Lab) -> Iterator[Fault]:
    """Vault is gone behind its proxy: connections are accepted and end at once.

    Unlike a refused connection, each one can be counted.
    """
    with lab.recorder.away():
        mark = Signature(unanswered=True, turned_away=True, answers_late=inf)
        fault = lab.history.begin_fault("Vault gone behind its proxy", mark)
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)
