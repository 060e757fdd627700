"""What HAProxy in front of a cluster is told, whichever engine runs it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

# Connections are passed on as they are, so TLS goes from client to node. A standby says 429 and is
# no way for clients: it may be behind what was written a moment ago. One that loses its lead keeps
# no connection, or clients would go on with a standby. While none leads and nodes are sealed, these
# answer: "sealed" is more than a connection that ends.
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

# A container has another address each time, and none while it does not run.
_BY_NAME = " resolvers network resolve-prefer ipv4 init-addr none"
_RESOLVERS = """\
resolvers network
  parse-resolv-conf
  timeout resolve 250ms
  timeout retry 250ms
  hold valid 250ms

"""


def balancer_configuration(
    nodes: Mapping[str, str],
    *,
    listen: str,
    alive: str,
    alive_path: str,
    tls: bool,
    own: Path | PurePosixPath | None = None,
    by_name: bool = False,
) -> str:
    """The text of HAProxy's configuration.

    Args:
        nodes: ``host:port`` of each node's API, by its name.
        listen: What it binds for clients, as HAProxy writes it.
        alive: The same for who asks whether it runs.
        alive_path: What it answers there with 200.
        tls: Whether the nodes speak TLS.
        own: Certificate and key that it shows to them when it looks at their health.
        by_name: Whether nodes are looked for by the names of a network of containers, again and
            again.
    """
    # Unchecked: nothing secret is said here, and clients see for themselves whom they reach.
    check = "check check-ssl verify none" if tls else "check"
    if own is not None:
        check += f" crt {shlex.quote(str(own))}"  # HAProxy quotes as a shell does
    return _TEXT.format(
        listen=listen,
        alive=alive,
        alive_path=alive_path,
        servers="\n".join(f"  server {name} {at} {check}" for name, at in nodes.items()),
        by_name=_BY_NAME if by_name else "",
        resolvers=_RESOLVERS if by_name else "",
    )
