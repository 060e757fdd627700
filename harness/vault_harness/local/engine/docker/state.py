"""Tell whether this machine has a container engine and the images."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vault_harness.errors import EngineUnavailable, ImageMissing, named
from vault_harness.local import dialect
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.docker_client import connect
from vault_harness.local.images.build import (
    LOCAL_BALANCER,
    LOCAL_TOXIPROXY,
    LOCAL_VAULT,
    Labels,
    own_code,
)
from vault_harness.settings import Settings

if TYPE_CHECKING:
    import docker


_log = logging.getLogger(__name__)

# These appear once for each layer.
_PULL_STEPS = frozenset({"Already exists", "Download complete", "Pull complete"})


class DockerStatus(enum.StrEnum):
    """What this machine has for scenarios in containers."""

    NO_ENGINE = "no engine"
    NO_IMAGES = "an engine without the images"
    READY = "an engine with the images"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image on this machine.

    Attributes:
        local: Whether `invoke images` built it.
        flavour: ``openbao`` or ``vault``; ``embedded`` or ``real``; ``haproxy``.
        outdated: Whether its copy of our code differs from the checkout.
    """

    name: str
    local: bool
    flavour: str
    outdated: bool = False

    def __str__(self) -> str:
        return f"{self.name} (outdated: {named('images')})" if self.outdated else self.name

    @property
    def dialect(self) -> Dialect:
        return dialect.OPENBAO if self.flavour == "openbao" else dialect.VAULT


@dataclass(frozen=True, kw_only=True)
class DockerState:
    """Docker on this machine.

    Attributes:
        line: The status for a user.
        pullable: Whether a registry has all missing images. False if none was asked.
    """

    status: DockerStatus
    line: str
    vault: Image | None = None
    toxiproxy: Image | None = None
    missing: tuple[str, ...] = ()
    pullable: bool = False

    @property
    def usable(self) -> bool:
        """Whether docker can be used here, perhaps after a pull."""
        return self.status is DockerStatus.READY or self.pullable


def inspect_docker(
    settings: Settings, *, timeout: float = 5.0, ask_registry: bool = True
) -> DockerState:
    """Look at the engine and its images. Pulls nothing.

    Args:
        timeout: Seconds for each request, also for those that ask a registry.
    """
    try:
        client = connect(timeout=timeout)
    except EngineUnavailable as error:
        return DockerState(status=DockerStatus.NO_ENGINE, line=error.cause)
    try:
        return _look(client, settings, ask_registry=ask_registry)
    finally:
        client.close()


def resolve(client: docker.DockerClient, settings: Settings) -> tuple[Image | None, Image | None]:
    """Return the images for Vault and Toxiproxy: the pinned one, else a local one.

    An image that the user chose is never replaced.
    """
    vault = find_image(client, settings.vault_image)
    if vault is None and not _chosen(settings, "vault_image"):
        vault = find_image(client, LOCAL_VAULT)
    toxiproxy = find_image(client, settings.toxiproxy_image)
    if toxiproxy is None and not _chosen(settings, "toxiproxy_image"):
        toxiproxy = find_image(client, LOCAL_TOXIPROXY)
    return vault, toxiproxy


def require(client: docker.DockerClient, settings: Settings) -> tuple[Image, Image]:
    """Return the images of `resolve`; pull missing ones."""
    vault, toxiproxy = resolve(client, settings)
    if vault is None:
        vault = _pull(client, settings.vault_image)
    if toxiproxy is None:
        toxiproxy = _pull(client, settings.toxiproxy_image)
    refuse_outdated(vault, toxiproxy)
    return vault, toxiproxy


def require_balancer(client: docker.DockerClient, settings: Settings) -> Image:
    """Return HAProxy's image; pull it if missing."""
    found = find_image(client, settings.haproxy_image)
    if found is None and not _chosen(settings, "haproxy_image"):
        found = find_image(client, LOCAL_BALANCER)
    return found or _pull(client, settings.haproxy_image)


def refuse_outdated(*images: Image) -> None:
    for image in images:
        if image.outdated:
            raise ImageMissing(
                f"the image {image.name} holds other code of this project than what is here",
                looked_at=f"its label {Labels.CODE}",
                remedy=named("images"),
            )


def _look(client: docker.DockerClient, settings: Settings, *, ask_registry: bool) -> DockerState:
    vault, toxiproxy = resolve(client, settings)
    version = client.version().get("Version", "of unknown version")
    missing = [
        name
        for name, image in (
            (settings.vault_image, vault),
            (settings.toxiproxy_image, toxiproxy),
        )
        if image is None
    ]
    if vault is not None and toxiproxy is not None:
        outdated = vault.outdated or toxiproxy.outdated
        return DockerState(
            status=DockerStatus.NO_IMAGES if outdated else DockerStatus.READY,
            line=f"engine {version} answers, with {vault} and {toxiproxy}",
            vault=vault,
            toxiproxy=toxiproxy,
        )
    pullable = ask_registry and all(_in_registry(client, name) for name in missing)
    then = "a registry has them" if pullable else f"`{named('images')}` builds local ones"
    if not pullable and ask_registry:
        then = f"and no registry that has them is reachable; {then}"
    return DockerState(
        status=DockerStatus.NO_IMAGES,
        line=f"engine {version} answers, but {' and '.join(missing)} are not there; {then}",
        vault=vault,
        toxiproxy=toxiproxy,
        missing=tuple(missing),
        pullable=pullable,
    )


def _chosen(settings: Settings, field: str) -> bool:
    return bool(getattr(settings, field) != type(settings).model_fields[field].default)


def find_image(client: docker.DockerClient, name: str) -> Image | None:
    from docker.errors import ImageNotFound

    try:
        found = client.images.get(name)
    except ImageNotFound:
        return None
    return _image(name, found)


def _image(name: str, found: Any) -> Image:
    flavour = found.labels.get(Labels.FLAVOUR)
    if flavour is not None:
        outdated = found.labels.get(Labels.CODE, "") != own_code(flavour)
        return Image(name=name, local=True, flavour=flavour, outdated=outdated)
    # Official images name the product in their environment.
    environment = (found.attrs.get("Config") or {}).get("Env") or []
    if "NAME=openbao" in environment or "openbao" in name:
        return Image(name=name, local=False, flavour="openbao")
    if "haproxy" in name:
        return Image(name=name, local=False, flavour="haproxy")
    return Image(name=name, local=False, flavour="real" if "toxiproxy" in name else "vault")


def _in_registry(client: docker.DockerClient, name: str) -> bool:
    from docker.errors import APIError
    from requests.exceptions import RequestException

    try:
        client.images.get_registry_data(name)
    except (APIError, RequestException, OSError):
        return False
    return True


def _pull(client: docker.DockerClient, name: str) -> Image:
    from docker.errors import APIError
    from docker.utils import parse_repository_tag
    from requests.exceptions import RequestException

    # A warning shows with default settings. A pull may take minutes.
    _log.warning("pulling the image %s ...", name)
    try:
        repository, tag = parse_repository_tag(name)
        for event in client.api.pull(repository, tag or "latest", stream=True, decode=True):
            if "error" in event:
                raise APIError(event["error"])
            if event.get("status") in _PULL_STEPS:
                _log.warning("%s: %s %s", name, event.get("id", ""), event["status"].lower())
        return _image(name, client.images.get(name))
    except (APIError, RequestException, OSError) as error:
        raise ImageMissing(
            f"the image {name} is not on this engine, and it cannot be pulled",
            looked_at=str(error).splitlines()[0][:300],
            remedy=f"`{named('images')}` builds local images from what is on this machine; they "
            "are used where VAULT_IMAGE, TOXIPROXY_IMAGE and HAPROXY_IMAGE are not set; or set "
            "those to images that are here; or use HARNESS_ENGINE=process",
        ) from error
