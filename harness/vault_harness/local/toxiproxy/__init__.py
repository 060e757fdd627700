"""Typed control of any Toxiproxy server, and an embedded server of our own.

::

    tp = Toxiproxy("http://127.0.0.1:8474")
    proxy = tp.create("vault", upstream="127.0.0.1:8200")
    with proxy.toxic(Latency(latency=100, jitter=10), stream="downstream"):
        ...                                     # every answer takes 100 ms longer
    with proxy.disabled():
        ...                                     # connections are cut and refused

``python -m vault_harness.local.toxiproxy`` runs the embedded server.
"""
