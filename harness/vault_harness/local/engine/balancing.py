"""Write the configuration of HAProxy in front of a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# TLS passes through to the node. A standby (429) gets no clients: its data may be behind. A node
# that loses the lead loses its connections, or clients would stay with a standby. Without a leader,
# sealed nodes answer: "sealed" says more than a closed connection.
_TEXT = """\
global
  maxconn 4000
  hard-stop-after 5s

defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 1s
  retries 2
  option redispatch
  default-server inter 200ms fastinter 100ms downinter 200ms fall 2 rise 1{by_name}

{resolvers}frontend clients
  bind {listen}
  use_backend sealed if {{ nbsrv(leader) eq 0 }} {{ nbsrv(sealed) gt 0 }}
  default_backend leader

backend leader
  option httpchk GET /v1/sys/health
  http-check expect status 200
  default-server on-marked-down shutdown-sessions
{servers}

backend sealed
  option httpchk GET /v1/sys/health
  http-check expect status 503
{servers}

frontend alive
  mode http
  bind {alive}
  monitor-uri {alive_path}
"""

# The address of a container changes with each start.
_BY_NAME = " resolvers network resolve-prefer ipv4 init-addr none"
_RESOLVERS = """\
resolvers network
  parse-resolv-conf
  timeout resolve 250ms
  timeout retry 250ms
  hold valid 250ms

"""


@dataclass(frozen=True)
class Backends:
    """The nodes that HAProxy leads to.

    Attributes:
        nodes: ``host:port`` of each node's API, by name.
        own: Certificate and key for the nodes; HAProxy reads it only at its start.
    """

    nodes: Mapping[str, str]
    tls: bool = False
    own: Path | PurePosixPath | None = None


def balancer_configuration(
    backends: Backends, *, listen: str, alive: str, alive_path: str, by_name: bool = False
) -> str:
    """Return HAProxy's configuration.

    Args:
        listen: Address for clients, in HAProxy's notation.
        alive: Address whose `alive_path` answers 200 while HAProxy runs.
        by_name: Resolve names again and again, as a container network needs.
    """
    # Not verified: health checks carry no secret, and clients verify for themselves.
    check = "check check-ssl verify none" if backends.tls else "check"
    if backends.own is not None:
        check += f" crt {shlex.quote(str(backends.own))}"  # HAProxy quotes as a shell does
    return _TEXT.format(
        listen=listen,
        alive=alive,
        alive_path=alive_path,
        servers="\n".join(f"  server {name} {at} {check}" for name, at in backends.nodes.items()),
        by_name=_BY_NAME if by_name else "",
        resolvers=_RESOLVERS if by_name else "",
    )
