"""The integration guide's services beside the stack of ``invoke up``."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import (
    BlueprintError,
    DeadlineExceeded,
    ImageMissing,
    StackError,
    named,
    without_frames,
)
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.compose import LABEL_PROJECT, LABEL_SERVICE, Compose
from vault_harness.local.engine.docker.labels import project_here
from vault_harness.local.engine.docker.stack import DockerStack
from vault_harness.local.engine.docker.state import find_image, refuse_outdated
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.ports import ask
from vault_harness.local.engine.process.services import ServiceProcesses
from vault_harness.local.images.build import LOCAL_SERVICES
from vault_harness.local.stack.data_dir import (
    CERTIFICATE_NAME,
    hand_out_ids,
    hand_out_tls,
    service_directory,
)
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import approle
from vault_harness.waiting import in_words, wait_until

if TYPE_CHECKING:
    import docker

# The port of each service on this machine, and the variable that changes it.
SERVICES: Mapping[str, tuple[int, str]] = {
    name: (port, f"{name.upper()}_PORT")
    for name, port in {
        "backend": 9101,
        "celery_worker": 9102,
        "celery_beat": 9104,
        "api_gateway": 9103,
        "recommender": 9105,
        "search": 9106,
        "pricing": 9107,
        "chatbot": 9108,
        "fraud": 9109,
        "forecasting": 9110,
        "vision": 9111,
    }.items()
}

_INSIDE_PORT = "8000/tcp"
_CA_INSIDE = "/run/vault/ca.pem"
_CERTIFICATE_INSIDE = f"/run/vault/{CERTIFICATE_NAME}"
_STOP_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class ExampleService:
    """The state of one service.

    Attributes:
        url: None if it does not run.
        health: ``starting``, ``healthy``, ``unhealthy``, or ``none`` if it does not run.
        status: The service's own: ``ok``, ``degraded`` (serves its last good secret),
            ``unavailable``, or empty.
    """

    name: str
    url: str | None
    health: str
    status: str


class ExampleServices:
    """Starts and ends the services, as containers or processes like the stack.

    `ports` overrides loopback ports; 0 picks a free one.
    """

    def __init__(self, stack: LocalStack, *, ports: Mapping[str, int] | None = None) -> None:
        self._local = stack
        self._ports = dict(ports or {})

    def credentials_directory(self, service: str) -> Path:
        return service_directory(self._local.data_dir, service)

    @without_frames
    def write_credentials(self, blueprint: Blueprint) -> None:
        ids = self._local.ids_directory(self._local.namespace(blueprint))
        wanted = _of(blueprint)
        for service in wanted:
            role = blueprint.services[service]
            missing = [file for file in approle.credential_files(role, ids) if not file.exists()]
            if missing:
                raise StackError(
                    f"{service} has no ids to log in with: the stack is not seeded",
                    looked_at=", ".join(map(str, missing)),
                    remedy=named("seed"),
                )
        hand_out_ids(self._local.data_dir, blueprint.services, wanted, ids=ids)

    @without_frames
    def start(
        self, *, through_toxiproxy: bool = True, timeout: float = 90.0
    ) -> list[ExampleService]:
        """Start the services and wait until all are healthy. Write their credentials first.

        Without `through_toxiproxy`, no fault of Toxiproxy affects them.
        """
        wanted = _of(self._local.blueprint())
        ports = {
            name: int(self._ports.get(name, os.environ.get(variable, default)))
            for name, (default, variable) in SERVICES.items()
        }
        engine = self._engine()
        with ExitStack() as held:
            try:
                engine.start(wanted, ports, through_toxiproxy=through_toxiproxy, held=held)
                return self._healthy(timeout)
            except BaseException:
                engine.take_back()
                raise

    def _healthy(self, timeout: float) -> list[ExampleService]:
        found = self.describe()

        def settled() -> bool:
            found[:] = self.describe()
            return all(service.health in ("healthy", "none") for service in found)

        try:
            wait_until(
                settled, "all example services to be healthy", timeout=timeout, interval=0.25
            )
        except DeadlineExceeded:
            waited = f"waited {in_words(timeout)} for the example services"
            raise self._unhealthy(waited) from None
        if any(service.health == "none" for service in found):
            raise self._unhealthy("example services ended at once")
        return found

    @without_frames
    def stop(self) -> list[str]:
        ended = self._engine().stop()
        return [name for name in SERVICES if name in ended]

    def describe(self) -> list[ExampleService]:
        found = self._engine().look()
        return [
            _describe(name, *found.get(name, ("", "none"))) for name in _of(self._local.blueprint())
        ]

    @without_frames
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each service's secret, if the service can tell it."""
        prints = {}
        for service in self.describe():
            answer = ask(f"{service.url}/fingerprint", timeout=10.0) if service.url else None
            if answer is not None and answer.status == 200:
                prints[service.name] = str(json.loads(answer.body)["fingerprint"])
        return prints

    @without_frames
    def logs(self, service: str, *, tail: int = 30) -> str:
        return self._engine().logs(service, tail)

    def restarts(self) -> dict[str, int]:
        engine = self._engine()
        return engine.restarts() if isinstance(engine, _Containers) else {}

    def _engine(self) -> _Processes | _Containers:
        provider = self._local.provider()
        if isinstance(provider, DockerStack):
            return _Containers(self._local, provider)
        return _Processes(self._local)

    def _unhealthy(self, happened: str) -> DeadlineExceeded:
        sick = [service for service in self.describe() if service.health != "healthy"]
        return DeadlineExceeded(
            f"{happened}; " + ", ".join(f"{one.name} is {one.health}" for one in sick),
            looked_at="\n".join(f"{one.name}:\n{self.logs(one.name)}" for one in sick),
            remedy=f"is Vault unsealed ({named('status')}) and seeded ({named('seed')})?",
        )


class _Processes:
    """Runs each service as a process. `_Containers` has the same methods."""

    def __init__(self, local: LocalStack) -> None:
        self._local = local
        self._all = ServiceProcesses(local.data_dir)
        self._begun: list[str] = []

    def start(
        self,
        wanted: list[str],
        ports: Mapping[str, int],
        *,
        through_toxiproxy: bool,
        held: ExitStack,
    ) -> None:
        """Start them without waiting. `held` keeps their ports so long."""
        for name in wanted:
            variables = service_environment(self._local, name, direct=not through_toxiproxy)
            if self._all.start(name, variables, ports[name], setting=SERVICES[name][1], held=held):
                self._begun.append(name)

    def take_back(self) -> None:
        self._all.stop(self._begun)

    def stop(self) -> Collection[str]:
        return self._all.stop()

    def look(self) -> dict[str, tuple[str, str]]:
        """Return URL and health of each; empty where only the service can tell."""
        return {name: (self._all.url(name), "") for name in self._all.running()}

    def logs(self, service: str, tail: int) -> str:
        return files.tail(self._all.log(service), tail)


class _Containers:
    """Runs the containers of ``services.yml``."""

    def __init__(self, local: LocalStack, provider: DockerStack) -> None:
        self._local, self._provider = local, provider

    def start(
        self,
        wanted: list[str],
        ports: Mapping[str, int],
        *,
        through_toxiproxy: bool,
        held: ExitStack,  # noqa: ARG002 -- the engine itself takes the ports
    ) -> None:
        with connected() as client:
            image = find_image(client, LOCAL_SERVICES)
        if image is None:
            raise ImageMissing(
                f"the image {LOCAL_SERVICES} is not on this engine",
                looked_at="docker images",
                remedy=named("images"),
            )
        refuse_outdated(image)
        for service in wanted:
            # Compose would create it as root's.
            files.private_directory(service_directory(self._local.data_dir, service))
        hand_out_tls(self._local.data_dir)
        # Without --no-deps Compose would replace the running Vault, perhaps by one that cannot
        # unseal itself.
        compose = self._compose(ports, through_toxiproxy)
        compose("up", "-d", "--no-deps", *wanted, services=True)

    def take_back(self) -> None:
        """Leave the containers: the engine restarts them until they are healthy."""

    def stop(self) -> Collection[str]:
        with connected() as client:
            found = {name: item for name, item in self._all(client) if name in SERVICES}
            for container in found.values():
                container.stop(timeout=_STOP_SECONDS)
                container.remove(v=True)
        return found

    def look(self) -> dict[str, tuple[str, str]]:
        return {name: _look(attributes) for name, attributes in self._attributes().items()}

    def logs(self, service: str, tail: int) -> str:
        with connected() as client:
            found = [item for name, item in self._all(client) if name == service]
            return "\n".join(item.logs(tail=tail).decode(errors="replace") for item in found)

    def restarts(self) -> dict[str, int]:
        return {
            name: int(attributes["RestartCount"])
            for name, attributes in self._attributes().items()
            if name in SERVICES
        }

    def _attributes(self) -> dict[str, Any]:
        with connected() as client:
            return {name: item.attrs for name, item in self._all(client)}

    def _all(self, client: docker.DockerClient) -> list[tuple[str, Any]]:
        known = StackRecord.load(self._local.data_dir)
        label = f"{LABEL_PROJECT}={project_here(self._local.data_dir, known)}"
        present = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return [(str(item.labels.get(LABEL_SERVICE)), item) for item in present]

    def _compose(self, ports: Mapping[str, int], through_toxiproxy: bool) -> Compose:
        endpoints = self._local.endpoints()
        tls = endpoints.ca_cert is not None
        upstream = endpoints.targets[0].upstream
        address = base_url("toxiproxy:8201" if through_toxiproxy else upstream, tls=tls)
        files_inside = {"SERVICES_CACERT": _CA_INSIDE} if tls else {}
        if self._local.client_certificates():
            files_inside["SERVICES_CLIENT_CERT"] = _CERTIFICATE_INSIDE
        return self._provider.compose(
            {
                "SERVICES_VAULT_ADDR": address,
                "SERVICES_MOUNT": self._local.blueprint().mount,
                "SERVICES_NAMESPACE": self._local.namespace(),
                **files_inside,
                **{SERVICES[name][1]: str(port) for name, port in ports.items()},
            }
        )


def _look(attributes: Mapping[str, Any]) -> tuple[str, str]:
    state = attributes["State"]
    bindings = (attributes["NetworkSettings"].get("Ports") or {}).get(_INSIDE_PORT)
    url = base_url(f"127.0.0.1:{bindings[0]['HostPort']}") if bindings else ""
    return url, str((state.get("Health") or {}).get("Status", state["Status"]))


def _of(blueprint: Blueprint) -> list[str]:
    found = [name for name in SERVICES if name in blueprint.services]
    if not found:
        raise BlueprintError(
            "[services] names none of the services of services.yml",
            looked_at=blueprint.name,
            remedy='add backend = "ROLE", for example, to [services] of the blueprint',
        )
    return found


def _describe(name: str, url: str, health: str) -> ExampleService:
    answer = ask(f"{url}/health", timeout=10.0) if url else None
    status = str(json.loads(answer.body).get("status", "")) if answer is not None else ""
    if url and not health:
        health = (
            "starting" if answer is None else "healthy" if answer.status == 200 else "unhealthy"
        )
    return ExampleService(name=name, url=url or None, health=health, status=status)
