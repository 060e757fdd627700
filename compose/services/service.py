"""One service of the e-commerce platform, reduced to its use of Vault.

It logs in with its AppRole, reads one secret, and answers ``/health`` and ``/fingerprint``. The
fingerprint proves that the service has the secret without showing it.

Variables: ``SERVICE``, ``PORT``, ``HOST`` (all addresses by default), and those of
`resilient_vault_client` (``VAULT_ADDR``, ``VAULT_ROLE_ID_FILE``, ``VAULT_SECRET_ID_FILE``, ...).
``-config FILE`` takes them from a JSON file.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_vault_client import VaultClient

SECRETS: Mapping[str, tuple[str, str]] = {
    "backend": ("backend/django", "SECRET_KEY"),
    "celery_worker": ("backend/celery", "CELERY_BROKER_URL"),
    "celery_beat": ("backend/celery", "CELERY_BROKER_URL"),
    "api_gateway": ("gateway/api", "JWT_SECRET"),
    "recommender": ("ai/openai", "OPENAI_API_KEY"),
    "search": ("ai/openai", "OPENAI_API_KEY"),
    "pricing": ("ai/huggingface", "HUGGINGFACE_API_KEY"),
    "chatbot": ("ai/anthropic", "ANTHROPIC_API_KEY"),
    "fraud": ("ai/huggingface", "HUGGINGFACE_API_KEY"),
    "forecasting": ("ai/huggingface", "HUGGINGFACE_API_KEY"),
    "vision": ("ai/openai", "OPENAI_API_KEY"),
}
"""The path below the mount, and the key, that each service reads."""

DEFAULT_PORT = 8000

# Seconds for one request to Vault, less than the timeout of the health check.
PATIENCE = 2.0


class Service:
    """Holds the client and answers for it.

    ``path`` is the secret's path below the mount, ``key`` the key whose value is fingerprinted.
    """

    def __init__(self, name: str, path: str, key: str, client: VaultClient) -> None:
        self.name = name
        self.path = path
        self.key = key
        self.client = client

    @classmethod
    def from_environment(cls) -> Service:
        """Return the service that ``SERVICE`` names."""
        # Imported here, since the health check runs every few seconds and needs no client.
        from resilient_vault_client import VaultClient

        name = os.environ["SERVICE"]
        return cls(name, *SECRETS[name], VaultClient())

    def health(self) -> tuple[int, dict[str, object]]:
        """Return 200 while the service has its secret, from Vault or the last good one.

        A sealed Vault is no reason to restart a service that still has what it needs.
        """
        status, fingerprint = self.fingerprint()
        vault = self.client.health(timeout=PATIENCE)
        working = status == 200
        body: dict[str, object] = {
            "service": self.name,
            "status": "ok" if working and vault.ok else "degraded" if working else "unavailable",
            "authenticated": vault.authenticated,
            "stale": vault.stale,
        }
        return (200, body) if working else (503, {**body, "error": fingerprint["error"]})

    def fingerprint(self) -> tuple[int, dict[str, object]]:
        """Return a digest of the secret, which changes with the value and does not reveal it."""
        try:
            value = self.client.get_secret_cached(self.path, self.key, timeout=PATIENCE)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the answer is 503 and its name
            return 503, {"service": self.name, "error": type(error).__name__}
        digest = hashlib.sha256(f"{self.path}\0{self.key}\0{value}".encode()).hexdigest()
        return 200, {
            "service": self.name,
            "path": self.path,
            "key": self.key,
            "fingerprint": digest[:16],
        }


def serve(service: Service, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT, then revoke the token and end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/health": service.health, "/fingerprint": service.fingerprint}
            answer = answers.get(self.path)
            status, body = answer() if answer else (404, {"error": "not found"})
            content = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, template: str, *values: object) -> None:
            if "/health" not in str(values[:1]):  # every few seconds, for ever
                super().log_message(template, *values)

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with server:
        server.serve_forever(poll_interval=0.1)
    service.client.close()


def check(port: int) -> int:
    """Run the container's health check: return 0 if ``/health`` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        body = answer.read().decode()
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(body)  # `docker inspect` shows it
    return 0 if answer.status == 200 else 1


def main(arguments: list[str]) -> int:
    """Serve, or check with ``--check``."""
    if arguments[:1] == ["-config"]:
        os.environ.update(json.loads(Path(arguments[1]).read_text(encoding="utf-8")))
    port = int(os.environ.get("PORT", DEFAULT_PORT))
    if arguments == ["--check"]:
        return check(port)
    serve(Service.from_environment(), os.environ.get("HOST", ""), port)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
