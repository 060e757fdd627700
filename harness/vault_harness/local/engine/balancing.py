"""Write the configuration of the HAProxy in front of a cluster, for every engine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# HAProxy passes TCP through, so TLS runs from client to node. A standby (429) gets no clients: its
# data may be behind. A node that loses the lead loses its connections too, or clients would stay
# with a standby. Without a leader, sealed nodes answer: "sealed" tells a client more than a
# connection that ends.
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
        nodes: ``host:port`` of the API of each node, by node name.
        own: Certificate and key that HAProxy shows to the nodes; read only at its start.
    """

    nodes: Mapping[str, str]
    tls: bool = False
    own: Path | PurePosixPath | None = None


def balancer_configuration(
    backends: Backends, *, listen: str, alive: str, alive_path: str, by_name: bool = False
) -> str:
    """Return the text of HAProxy's configuration.

    Args:
        listen: The address for clients, in HAProxy's notation.
        alive: The address for health checks of HAProxy itself.
        alive_path: The path there that answers 200.
        by_name: Resolve node names again and again, as a container network needs.
    """
    # Verification is off: health checks carry no secret, and clients verify for themselves.
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
