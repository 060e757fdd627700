"""The example services of ``services.yml`` beside the stack of ``invoke up``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.blueprint import Blueprint
from vault_harness.commands import named
from vault_harness.engine import get
from vault_harness.engine.docker import (
    LABEL_PROJECT,
    LABEL_SERVICE,
    Compose,
    DockerStack,
    connected,
    has_image,
)
from vault_harness.errors import BlueprintError, DeadlineExceeded, HarnessError, ImageMissing
from vault_harness.images import LOCAL_SERVICES
from vault_harness.settings import Settings
from vault_harness.stack.record import StackRecordFile
from vault_harness.vault import Operator, approle
from vault_harness.waiting import wait_until

# Service to the port of its container that is published, and the variable that moves it.
SERVICES: Mapping[str, tuple[int, str]] = {
    "backend": (9101, "BACKEND_PORT"),
    "celery_worker": (9102, "CELERY_WORKER_PORT"),
    "api_gateway": (9103, "API_GATEWAY_PORT"),
    "ai_services": (9104, "AI_SERVICES_PORT"),
}

_INSIDE_PORT = "8000/tcp"


@dataclass(frozen=True, kw_only=True)
class ExampleService:
    """One service as it is now.

    Attributes:
        name: Its name in ``services.yml``.
        url: Its base URL on this machine, or None if it does not run.
        health: What the engine's health check says: ``starting``, ``healthy``, ``unhealthy``, or
            ``none`` without a container.
        status: What the service itself says: ``ok``, ``degraded`` (serves its last good secret),
            ``unavailable``, or empty if it does not answer.
    """

    name: str
    url: str | None
    health: str
    status: str


class ExampleServices:
    """Starts and ends the four services, through the compose files.

    Args:
        settings: As for the stack.
        ports: Service to port on loopback, where the default is not wanted; 0 picks a free one.
    """

    def __init__(self, settings: Settings, *, ports: Mapping[str, int] | None = None) -> None:
        self._settings = settings
        self._memory = StackRecordFile(settings.data_dir)
        self._stack = DockerStack(settings, self._memory)
        self._ports = dict(ports or {})

    def credentials_directory(self, service: str) -> Path:
        """Where a service finds its two ids: a directory of its own, mounted into its container.

        A file that is replaced by rename is seen through a mounted directory, not through a
        mounted file; and the data directory itself holds the unseal keys.
        """
        return self._settings.data_dir / "services" / service

    def write_credentials(
        self, operator: Operator, blueprint: Blueprint, *, renew: bool = False
    ) -> None:
        """Give each service the ids of its AppRole, a secret-id of its own.

        Args:
            operator: Who may make secret-ids.
            blueprint: Its ``[services]`` say which AppRole a service logs in with.
            renew: Make new secret-ids even where the present ones are good.

        Raises:
            BlueprintError: It knows no such service.
        """
        for service in SERVICES:
            role = blueprint.services.get(service)
            if role is None:
                raise BlueprintError(
                    f"[services] has no {service}, which services.yml runs",
                    looked_at=blueprint.name,
                    remedy=f'add {service} = "ROLE" to [services] of the blueprint',
                )
            approle.write_credentials(
                operator, role, self.credentials_directory(service), renew=renew
            )

    def start(
        self, *, through_toxiproxy: bool = True, timeout: float = 90.0
    ) -> list[ExampleService]:
        """Start them and wait until all are healthy. Their ids must be written before.

        Args:
            through_toxiproxy: Let them reach Vault through Toxiproxy, so that faults reach them.
            timeout: Seconds for all of them.

        Raises:
            ImageMissing: ``invoke images`` was not run.
            DeadlineExceeded: One is not healthy in time; the error bears its log.
        """
        with connected() as client:
            if not has_image(client, LOCAL_SERVICES):
                raise ImageMissing(
                    f"the image {LOCAL_SERVICES} is not on this engine",
                    looked_at="docker images",
                    remedy=named("images"),
                )
        for service in SERVICES:
            # Otherwise the engine would make it, as root's.
            files.private_directory(self.credentials_directory(service))
        self._compose(through_toxiproxy)("up", "-d", *SERVICES, services=True)
        try:
            wait_until(
                lambda: all(service.health == "healthy" for service in self.describe()),
                "all example services to be healthy",
                timeout=timeout,
                interval=0.25,
            )
        except DeadlineExceeded:
            raise self._unhealthy(timeout) from None
        return self.describe()

    def stop(self) -> list[str]:
        """End them and remove their containers; returns which."""
        present = [service.name for service in self.describe() if service.health != "none"]
        if present:
            self._compose(True)("rm", "--force", "--stop", *present, services=True)
        return present

    def describe(self) -> list[ExampleService]:
        """All four, running or not."""
        found = self._attributes()
        return [_describe(name, found.get(name)) for name in SERVICES]

    def _attributes(self) -> dict[str, Any]:
        label = f"{LABEL_PROJECT}={self._stack.project}"
        with connected() as client:
            present = client.containers.list(
                all=True, filters={"label": label}, ignore_removed=True
            )
            return {str(item.labels.get(LABEL_SERVICE)): item.attrs for item in present}

    def restarts(self) -> dict[str, int]:
        """Service to how often the engine restarted it."""
        return {
            name: int(attributes["RestartCount"])
            for name, attributes in self._attributes().items()
            if name in SERVICES
        }

    def fingerprints(self) -> dict[str, str]:
        """Service to the fingerprint of its secret; services that cannot tell are left out."""
        prints = {}
        for service in self.describe():
            answer = get(f"{service.url}/fingerprint", timeout=10.0) if service.url else None
            if answer is not None and answer[0] == 200:
                prints[service.name] = str(json.loads(answer[1])["fingerprint"])
        return prints

    def logs(self, service: str, *, tail: int = 30) -> str:
        """The last lines of a service's log."""
        with connected() as client:
            label = [
                f"{LABEL_PROJECT}={self._stack.project}",
                f"{LABEL_SERVICE}={service}",
            ]
            found = client.containers.list(all=True, filters={"label": label})
            return "\n".join(item.logs(tail=tail).decode(errors="replace") for item in found)

    def _compose(self, through_toxiproxy: bool) -> Compose:
        record = self._memory.load()
        address = base_url("toxiproxy:8201" if through_toxiproxy else "vault:8200")
        ports = {
            variable: str(self._ports.get(name, default))
            for name, (default, variable) in SERVICES.items()
        }
        return self._stack.compose(record, {"SERVICES_VAULT_ADDR": address, **ports})

    def _unhealthy(self, timeout: float) -> HarnessError:
        sick = [service for service in self.describe() if service.health != "healthy"]
        return DeadlineExceeded(
            f"waited {timeout:g} s for the example services to be healthy; "
            + ", ".join(f"{service.name} is {service.health}" for service in sick),
            looked_at="\n".join(f"{one.name}:\n{self.logs(one.name)}" for one in sick),
            remedy=f"is Vault unsealed ({named('status')}) and seeded ({named('seed')})?",
        )


def _describe(name: str, attributes: Mapping[str, Any] | None) -> ExampleService:
    if attributes is None:
        return ExampleService(name=name, url=None, health="none", status="")
    state = attributes["State"]
    bindings = (attributes["NetworkSettings"].get("Ports") or {}).get(_INSIDE_PORT)
    url = base_url(f"127.0.0.1:{bindings[0]['HostPort']}") if bindings else None
    health = str((state.get("Health") or {}).get("Status", state["Status"]))
    answer = get(f"{url}/health", timeout=10.0) if url else None
    status = ""
    if answer is not None:
        status = str(json.loads(answer[1]).get("status", ""))
    return ExampleService(name=name, url=url, health=health, status=status)
