"""An agent's proxy between client and Vault, which caches tokens and answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vault_harness.errors import ProgramMissing
from vault_harness.judge.lab import Lab
from vault_harness.judge.subjects import open_subject, parse_subject
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.engine.ports import PortLease, listens
from vault_harness.local.programs import find_vault
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

UP_WITHIN = 20.0
"""Seconds from the proxy's start until it must listen."""

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

    The recorder sees what the client sends, but not what the proxy, which is behind it, sends
    by itself. The proxy renews tokens, and answers a repeated login with the same token.
    """
    if lab.wire != "plain":
        raise NotClaimed(f"the proxy of this scenario speaks no {lab.wire}")
    try:
        program = find_vault(Settings()).path
    except ProgramMissing as error:
        raise NotClaimed(error.cause) from error
    with ExitStack() as ending:
        lease = PortLease()  # a port that is only free could be taken before the proxy listens
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
