# The embedded Toxiproxy server of this project: the same API, flags and toxics as the real one.
FROM vault-harness/python:local
COPY rootfs/ /
EXPOSE 8474
RUN ["/usr/local/bin/python3", "-m", "vault_harness.local.toxiproxy", "-version"]
ENTRYPOINT ["/usr/local/bin/python3", "-m", "vault_harness.local.toxiproxy"]
CMD ["-host=0.0.0.0"]
