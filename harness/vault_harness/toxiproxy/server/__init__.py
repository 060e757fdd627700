"""An embedded Toxiproxy server: the HTTP API and the eight toxics of Toxiproxy 2.12, in Python.

==================  ==========================================================================
`main`              command line, start and end of the process
`protocol`          HTTP/1.1 on the wire
`api`               routes, requests and answers
`bodies`            what requests have in them, how proxies and toxics are shown
`gojson`            JSON as upstream's Go decoder reads it
`proxies`           proxies and their life cycle
`connections`       one client with its upstream; the record of what happened to it
`links`             one direction of a connection: source, chain of toxics, sink
`dialing`           connecting to the upstream
`addresses`         ``host:port`` texts, listeners, and Go's words for what is wrong with them
`toxics`            one file for each toxic; a new file there is a new toxic
`polling`           watching sockets
`metrics`           Prometheus counters
`log`               JSON lines on standard output that never block the server
==================  ==========================================================================

What is different from upstream on purpose, because upstream's way is a defect:

- attributes of which its process dies are refused with 400 (`toxics.bandwidth`, `toxics.slicer`);
- no request waits for a peer, whatever the peer does, and ``reset_peer`` can be interrupted;
- upstreams are dialled side by side, and given up after `dialing.TIMEOUT`;
- ``-seed`` works: one generator for each seed, proxy, toxic and connection;
- a refused update of a toxic never shows attributes that do not act;
- the process ends with 1 when the API's port is taken, and at once when it is told to;
- metrics move while connections live;
- ``GET /harness/connections[?proxy=NAME]`` shows live and recent connections.

Only the standard library, h11 and, where it installs, uvloop are imported: so it starts quickly.
"""

from __future__ import annotations

VERSION = "2.12.0"
"""The upstream version whose behaviour this server has; what ``GET /version`` answers."""
