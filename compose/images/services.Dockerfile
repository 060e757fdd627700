# A small application that reads one secret with the reference client: the services of services.yml.
FROM vault-harness/python:local
COPY rootfs/ /
EXPOSE 8000
RUN ["/usr/local/bin/python3", "-c", "import resilient_vault_client"]
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/python3", "/app/service.py"]
