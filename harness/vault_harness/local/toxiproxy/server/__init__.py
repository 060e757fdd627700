"""An embedded Toxiproxy server: the HTTP API and the eight toxics of Toxiproxy 2.12, in Python.

==================  ==========================================================================
`main`              command line, log, start and end of the process
`protocol`          HTTP/1.1 on the wire
`api`               routes, requests and answers
`bodies`            required fields of requests; how proxies and toxics are shown
`proxy`             a proxy and its life cycle
`connection`        one client with its upstream: dialling, two links, the record of what happened
`link`              one direction of a connection: source, chain of toxics, sink
`stage`             what all toxics share
`toxics`            the eight toxics
`traffic`           records of connections, and Prometheus counters
`addresses`         ``host:port`` texts, look-ups, listeners, and Go's error texts
==================  ==========================================================================

The server differs from upstream on purpose where upstream has a defect:

- attributes that kill upstream's process are refused with 400 (`toxics.Bandwidth`,
  `toxics.Slicer`);
- no request waits for a peer, and ``reset_peer`` can be interrupted;
- upstreams are dialled in parallel, and given up after `connection.DIAL_TIMEOUT`;
- ``-seed`` works: one generator for each seed, proxy, toxic and connection;
- after a refused update, a toxic shows the attributes that are in effect;
- the process ends with 1 when the API's port is taken, and at once when a signal ends it;
- metrics move while connections live;
- a request body of more than `protocol.MAX_BODY` is refused with 413, from its declared length on;
- ``GET /harness/connections[?proxy=NAME]`` shows live and recent connections.

It also differs where nobody seemed to need upstream's behaviour:

- proxies are shown without ``Logger``, which is always ``{}`` upstream;
- ``-runtime-metrics`` is accepted, but there are no ``go_*`` and ``process_*`` metrics;
- the text after ``bad request body:`` is not Go's;
- toxicity keeps eight decimals instead of being a float32;
- help and messages about wrong flags are Python's, and the value of a switch may follow a space.

It imports only the standard library and h11, so that it starts quickly.
"""

from __future__ import annotations

VERSION = "2.12.0"
"""The upstream version whose behaviour this server has, and the answer of ``GET /version``."""
