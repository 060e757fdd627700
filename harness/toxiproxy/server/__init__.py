"""An embedded Toxiproxy server: the HTTP API and the eight toxics of Toxiproxy 2.12, in Python.

==================  ==========================================================================
`main`              command line, start and end of the process
`protocol`          HTTP/1.1 on the wire
`api`               routes, requests and answers
`bodies`            what requests must have in them, how proxies and toxics are shown
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

Only the standard library, h11 and (where it installs) uvloop are imported, so that it starts
quickly.
"""

from __future__ import annotations

VERSION = "2.12.0"
"""The upstream version whose behaviour this server has; what ``GET /version`` answers."""
