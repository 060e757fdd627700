"""Put something in Vault's place."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from vault_harness.addresses import base_url
from vault_harness.errors import ProgramMissing
from vault_harness.judge.faults.network import CUT
from vault_harness.judge.helpers.leaders import leading_to
from vault_harness.judge.lab import Lab
from vault_harness.judge.subjects import open_subject, parse_subject
from vault_harness.judge.verdict import Finding, NotClaimed
from vault_harness.local.engine.ports import PortLease, listens
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.programs import find_vault
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.fault import Fault, RequestKind, Signature, Stub, noted
from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import Recorder, Tls
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until


@contextmanager
def instead_of_vault(lab: Lab, name: str, *stubs: Stub) -> Iterator[Fault]:
    """Let the recorder answer in Vault's place while the block runs.

    This counts as a fault once the subject has received such an answer.
    """
    with ExitStack() as set_up:
        for stub in stubs:
            set_up.enter_context(lab.recorder.stub(stub))
        with noted(lab.history, name, Signature(stubbed=True)) as fault:
            yield fault


@contextmanager
def uninitialised(lab: Lab) -> Iterator[Fault]:
    """Lead clients to an uninitialised Vault while the block runs.

    A client that initialises it does harm: it then holds the keys to all future secrets.
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
    """A second address of the same Vault, under a name that the subject was never given."""

    address: str
    history: History
    paths: Mapping[RequestKind, str]

    def redirects(self) -> tuple[Stub, ...]:
        """Return redirects (307) to this host, like those of a standby."""
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
    """Open a host that accepts connections and never answers, like a hanging leader."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as silent,
        other_host(lab, upstream=f"127.0.0.1:{silent.getsockname()[1]}") as host,
    ):
        yield host


@contextmanager
def other_host(
    lab: Lab, *, upstream: str | None = None, plain: bool = False
) -> Iterator[OtherHost]:
    """Open another host, which records its requests.

    Args:
        upstream: ``host:port`` behind the host; by default the same Vault.
        plain: Whether to speak HTTP without TLS in any case.
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
        # The name must differ from the host in VAULT_ADDR, which is a number.
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
    mark = replace(CUT, turned_away=True)
    with lab.recorder.away(), noted(lab.history, "Vault gone behind its proxy", mark) as fault:
        yield fault


UP_WITHIN = 20.0
"""Seconds in which the proxy must listen."""

_CONFIG = """
command = ["{program}", "proxy", "-config=${{dir}}/proxy.hcl"]

[listener]
url = "http://127.0.0.1:{port}"

[files]
"proxy.hcl" = '''
vault {{
  address = "${{VAULT_ADDR}}"
}}
cache {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
'''
"""


@contextmanager
def caching_proxy(lab: Lab) -> Iterator[None]:
    """Lead the client through a proxy with a cache while the block runs.

    The proxy stands behind the recorder, which sees only the client's requests. The proxy renews
    tokens, and answers a repeated login with the same token.
    """
    if lab.wire != "plain":
        raise NotClaimed(f"the proxy of this scenario speaks no {lab.wire}")
    try:
        program = find_vault(Settings()).path
    except ProgramMissing as error:
        raise NotClaimed(error.cause) from error
    with ExitStack() as ending:
        lease = PortLease()  # another program could take a port that is only free
        ending.callback(lease.release)
        port = lease.port
        config = lab.directory / "proxy.toml"
        config.write_text(_CONFIG.format(program=program, port=port), encoding="utf-8")
        proxy = open_subject(
            parse_subject(f"agent:{config}"),
            {"VAULT_ADDR": lab.stack.leader().address},
            log=lab.directory / "proxy.log",
        )
        ending.callback(proxy.kill)
        ending.callback(setattr, lab.recorder, "upstream", lab.recorder.upstream)
        wait_until(
            lambda: listens(port),
            "the caching proxy to listen",
            timeout=UP_WITHIN,
            evidence=proxy.logs,
        )
        lab.recorder.upstream = f"127.0.0.1:{port}"
        yield
