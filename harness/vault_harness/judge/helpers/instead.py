"""Stand-ins that answer in Vault's place, and other hosts that lead to the same Vault."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from math import inf

from vault_harness.addresses import base_url
from vault_harness.judge.helpers.leaders import leading_to
from vault_harness.judge.lab import Lab
from vault_harness.judge.verdict import Finding
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.fault import Fault, RequestKind, Signature, Stub
from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import Recorder, Tls


@contextmanager
def instead_of_vault(lab: Lab, name: str, *stubs: Stub) -> Iterator[Fault]:
    """Let the recorder answer in Vault's place while the block runs.

    It counts as a fault only when the subject has received such an answer. `name` is for the
    report.
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
    """Lead clients to a Vault that nobody has initialised, while the block runs.

    A client that initialises it does harm: it holds the keys to all future secrets.
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
        with closing(VaultAdmin(node.address)) as operator:
            if operator.seal_status().initialised:
                text = "it is initialised, and another program has its keys"
                promise = "nobody initialises a Vault but its operator"
                lab.note(Finding(promise, text, fault.end, harm=True))


@dataclass(frozen=True)
class OtherHost:
    """A second address of the same Vault, under a name that the subject was never given.

    Attributes:
        history: The requests that reached it.
        paths: Where a client sends each kind of request.
    """

    address: str
    history: History
    paths: Mapping[RequestKind, str]

    def redirects(self) -> tuple[Stub, ...]:
        """Return answers that redirect there (307), like a standby that does not forward."""
        return tuple(
            Stub(
                status=307,
                headers={"Location": f"{self.address}/v1/{path}"},
                kinds=frozenset({kind}),
            )
            for kind, path in self.paths.items()
        )


@contextmanager
def silent_host(lab: Lab) -> Iterator[OtherHost]:
    """Open another host that accepts connections and never answers, like a leader that hangs."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as silent,
        other_host(lab, upstream=f"127.0.0.1:{silent.getsockname()[1]}") as host,
    ):
        yield host


@contextmanager
def other_host(
    lab: Lab, *, upstream: str | None = None, plain: bool = False
) -> Iterator[OtherHost]:
    """Open another host on the network, which records what it is given.

    Args:
        upstream: ``host:port`` that it leads to; the same Vault by default.
        plain: Whether to speak without TLS in any case.
    """
    history = History(started_wall=lab.history.started_wall, started=lab.history.started)
    recorder = Recorder(
        history,
        lab.secrets,
        upstream=upstream or lab.recorder.upstream,
        tls=Tls(
            None if plain else lab.recorder.tls, None if upstream else lab.recorder.upstream_tls
        ),
    )
    try:
        # The name must differ from that in VAULT_ADDR, which is a number.
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
    """Take Vault away behind its proxy: connections are accepted and end at once.

    Unlike refused connections, these can be counted.
    """
    with lab.recorder.away():
        mark = Signature(unanswered=True, turned_away=True, answers_late=inf)
        fault = lab.history.begin_fault("Vault gone behind its proxy", mark)
        try:
            yield fault
        finally:
            lab.history.end_fault(fault)
