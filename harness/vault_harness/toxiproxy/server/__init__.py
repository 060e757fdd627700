"""An embedded Toxiproxy server: the HTTP API and the eight toxics of Toxiproxy 2.12, in Python.

==================  ==========================================================================
`main`              command line, start and end of the process
`protocol`          HTTP/1.1 on the wire
`api`               routes, requests and answers
`bodies`            what requests have in them, how proxies and toxics are shown
`proxy`             a proxy and its life cycle
`connection`        one client with its upstream: dialling, two links, the record of what happened
`link`              one direction of a connection: source, chain of toxics, sink
`toxics`            one file for each toxic; a new file there is a new toxic
`traffic`           records of connections, and Prometheus counters
`addresses`         ``host:port`` texts, look-ups, listeners, and Go's words for what is wrong
`log`               JSON lines on standard output that never block the server
==================  ==========================================================================

What is different from upstream on purpose, because upstream's way is a defect:

- attributes of which its process dies are refused with 400 (`toxics.bandwidth`, `toxics.slicer`);
- no request waits for a peer, whatever the peer does, and ``reset_peer`` can be interrupted;
- upstreams are dialled side by side, and given up after `connection.DIAL_TIMEOUT`;
- ``-seed`` works: one generator for each seed, proxy, toxic and connection;
- a refused update of a toxic never shows attributes that do not act;
- the process ends with 1 when the API's port is taken, and at once when it is told to;
- metrics move while connections live;
- a request body of more than `protocol.MAX_BODY` is refused with 413, as soon as it says so;
- ``GET /harness/connections[?proxy=NAME]`` shows live and recent connections.

What is different because nobody was seen to need it:

- proxies are shown without ``Logger``, which is always ``{}`` upstream;
- ``-runtime-metrics`` is accepted, but there are no ``go_*`` and ``process_*`` metrics;
- what follows ``bad request body:`` is not in Go's words;
- toxicity keeps eight decimals instead of being a float32;
- help and messages about wrong flags are Python's, and a switch may be given its value after a
  space.

Only the standard library and h11 are imported: so it starts quickly.
"""

from __future__ import annotations

VERSION = "2.12.0"
"""The upstream version whose behaviour this server has; what ``GET /version`` answers."""
