"""An embedded Toxiproxy server: the HTTP API and the eight toxics of Toxiproxy 2.12, in Python.

A `proxy` accepts clients. Each `connection` has two `link` objects, one for each direction, with a
chain of `toxics` (see `stage`) between source and sink.

It differs from upstream where upstream has a defect:

- attributes that kill upstream's process are refused with 400 (`toxics.Bandwidth`,
  `toxics.Slicer`);
- no request waits for a peer, and ``reset_peer`` can be interrupted;
- upstreams are dialled in parallel, and given up after `connection.DIAL_TIMEOUT`;
- ``-seed`` works: one generator for each seed, proxy, toxic and connection;
- after a refused update, a toxic shows the attributes that are in effect;
- the process ends with 1 when the API's port is taken, and at once on a signal;
- metrics move while connections live;
- a request body of more than `protocol.MAX_BODY` is refused with 413;
- ``GET /harness/connections[?proxy=NAME]`` shows live and recent connections.

It also differs where nobody seemed to need upstream's behaviour:

- proxies are shown without ``Logger``, which is always ``{}`` upstream;
- ``-runtime-metrics`` is accepted without ``go_*`` and ``process_*`` metrics;
- the text after ``bad request body:`` is not Go's;
- toxicity keeps eight decimals instead of being a float32;
- help and messages about wrong flags are Python's, and a switch's value may follow a space.

It imports only the standard library and h11, to start quickly.
"""

from __future__ import annotations

VERSION = "2.12.0"
"""The upstream version whose behaviour this server has."""
