"""Build images from programs on this machine, without a registry."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from vault_harness.errors import EngineError, ProgramMissing, named
from vault_harness.local.images.rootfs import PACKAGES, Rootfs
from vault_harness.local.programs import find_balancer, find_toxiproxy, find_vault
from vault_harness.settings import Settings, resources

if TYPE_CHECKING:
    import docker

LOCAL_PYTHON = "vault-harness/python:local"
LOCAL_VAULT = "vault-harness/vault:local"
LOCAL_TOXIPROXY = "vault-harness/toxiproxy:local"
LOCAL_SERVICES = "vault-harness/services:local"
LOCAL_BALANCER = "vault-harness/haproxy:local"


class Labels:
    """Labels of an image that was built here."""

    SOURCE = "vault-harness.source"
    FLAVOUR = "vault-harness.flavour"
    CODE = "vault-harness.code"


_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""PATH, with system folders that not every user's PATH has."""

_PACKAGE = Path(__file__).resolve().parents[2]
_CLIENT = _PACKAGE.parent / "resilient_vault_client"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One image to build.

    Attributes:
        dockerfile: A file of ``compose/images``.
        flavour: ``openbao`` or ``vault``, ``embedded`` or ``real``, ``haproxy``, ``reference``,
            ``python``.
        base: The image of ours that it is based on.
    """

    tag: str
    dockerfile: str
    rootfs: Rootfs
    flavour: str
    contents: str
    base: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """The result for one image.

    Attributes:
        megabytes: Including its base.
    """

    tag: str
    contents: str
    megabytes: int
    action: Literal["built", "unchanged"]


def build_images(
    client: docker.DockerClient,
    settings: Settings,
    *,
    rebuild: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[BuiltImage]:
    """Build all images.

    HAProxy's is built if HAProxy is installed; only a cluster needs it. Nothing is pulled. An image
    with unchanged content is kept. `progress` gets a line before each build.
    """
    if sys.platform != "linux":
        raise EngineError(
            f"local images hold programs of this machine, and those of {platform.system()} "
            "do not run in a Linux container",
            looked_at=sys.platform,
            remedy=f"run `{named('images')}` on Linux, or let the engine pull the pinned images",
        )
    built = []
    base_source = ""
    if not _has_balancer():
        progress(f"no haproxy on this machine, so no {LOCAL_BALANCER}: only a cluster needs it")
    for recipe in recipes(settings):
        source = _source(recipe, base_source if recipe.base else "")
        if recipe.tag == LOCAL_PYTHON:
            base_source = source
        present = _labelled(client, recipe.tag)
        if present == source and not rebuild:
            action: Literal["built", "unchanged"] = "unchanged"
        else:
            progress(f"building {recipe.tag}: {recipe.contents}")
            _replace(client, recipe, source)
            action = "built"
        size = int(client.images.get(recipe.tag).attrs["Size"])
        built.append(
            BuiltImage(
                tag=recipe.tag,
                contents=recipe.contents,
                megabytes=round(size / 1e6),
                action=action,
            )
        )
    return built


def recipes(settings: Settings) -> Iterable[Recipe]:
    """Yield the recipes, bases first."""
    yield _python_recipe()
    yield _vault_recipe(settings)
    yield _toxiproxy_recipe(settings)
    if _has_balancer():
        yield _balancer_recipe()
    yield _services_recipe()


def own_code(flavour: str) -> str:
    """Return a digest of our code in an image, which tells whether it is outdated.

    Empty for a flavour without such code.
    """
    folders = {
        "embedded": [_PACKAGE / "local" / "toxiproxy"],
        "reference": [_CLIENT, resources() / "services"],
    }.get(flavour, [])
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32] if folders else ""


def _python_recipe() -> Recipe:
    rootfs = Rootfs.bare()
    rootfs.add_python()
    return Recipe(
        tag=LOCAL_PYTHON,
        dockerfile="python.Dockerfile",
        rootfs=rootfs,
        flavour="python",
        contents=f"Python {platform.python_version()} of this machine",
    )


def _vault_recipe(settings: Settings) -> Recipe:
    program = find_vault(settings)
    rootfs = Rootfs.bare()
    rootfs.add_program(program.path, "/bin/vault")
    rootfs.links["/bin/bao"] = "vault"
    if (routes := shutil.which("ip", path=_PLACES)) is not None:  # the usual images have it too
        rootfs.add_program(Path(routes), "/bin/ip")
    for name in ("/vault/config", "/vault/file", "/vault/logs"):
        rootfs.directories[name] = 0o755
    return Recipe(
        tag=LOCAL_VAULT,
        dockerfile="vault.Dockerfile",
        rootfs=rootfs,
        flavour=program.dialect.product,
        contents=f"{program.dialect.title} ({program.found})",
    )


def _toxiproxy_recipe(settings: Settings) -> Recipe:
    program = find_toxiproxy(settings)
    if program.flavour == "real":
        rootfs = Rootfs.bare()
        rootfs.add_program(Path(program.command[0]), "/toxiproxy")
        return Recipe(
            tag=LOCAL_TOXIPROXY,
            dockerfile="toxiproxy.Dockerfile",
            rootfs=rootfs,
            flavour="real",
            contents="the real toxiproxy-server",
        )
    rootfs = Rootfs()
    rootfs.add_distributions(["h11", "requests", "toxiproxy-python"])
    inside = PACKAGES / _PACKAGE.name
    rootfs.add_package(_PACKAGE / "local" / "toxiproxy", inside / "local" / "toxiproxy")
    for module in [*_PACKAGE.glob("*.py"), *(_PACKAGE / "local").glob("*.py")]:
        rootfs.files[str(inside / module.relative_to(_PACKAGE))] = module
    return Recipe(
        tag=LOCAL_TOXIPROXY,
        dockerfile="toxiproxy-embedded.Dockerfile",
        rootfs=rootfs,
        flavour="embedded",
        contents="the embedded Toxiproxy server",
        base=LOCAL_PYTHON,
    )


def _has_balancer() -> bool:
    try:
        find_balancer()
    except ProgramMissing:
        return False
    return True


def _balancer_recipe() -> Recipe:
    program = find_balancer()
    rootfs = Rootfs.bare()
    rootfs.add_program(program, "/usr/local/sbin/haproxy")
    return Recipe(
        tag=LOCAL_BALANCER,
        dockerfile="haproxy.Dockerfile",
        rootfs=rootfs,
        flavour="haproxy",
        contents=f"HAProxy ({program})",
    )


def _services_recipe() -> Recipe:
    rootfs = Rootfs()
    rootfs.add_distributions(["httpcore"])
    # The client imports nothing of the harness: an application could install it alone.
    rootfs.add_package(_CLIENT, PACKAGES / _CLIENT.name)
    rootfs.add_package(resources() / "services", PurePosixPath("/app"))
    return Recipe(
        tag=LOCAL_SERVICES,
        dockerfile="services.Dockerfile",
        rootfs=rootfs,
        flavour="reference",
        contents="an example service with the reference client",
        base=LOCAL_PYTHON,
    )


def _source(recipe: Recipe, base: str) -> str:
    digest = hashlib.sha256()
    digest.update((resources() / "images" / recipe.dockerfile).read_bytes())
    digest.update(recipe.rootfs.fingerprint().encode())
    digest.update(base.encode())
    return digest.hexdigest()[:32]


def _labelled(client: docker.DockerClient, tag: str) -> str | None:
    from docker.errors import ImageNotFound

    try:
        image = client.images.get(tag)
    except ImageNotFound:
        return None
    return image.labels.get(Labels.SOURCE)


def _replace(client: docker.DockerClient, recipe: Recipe, source: str) -> None:
    """Build an image, and delete the previous one if it has no other name."""
    from docker.errors import APIError, ImageNotFound

    try:
        before = client.images.get(recipe.tag).id
    except ImageNotFound:
        before = None
    _build(client, recipe, source)
    if before is None or before == client.images.get(recipe.tag).id:
        return
    # Refused while a container or another image uses it.
    with contextlib.suppress(APIError):
        if not client.images.get(before).tags:
            client.images.remove(before)


def _build(client: docker.DockerClient, recipe: Recipe, source: str) -> None:
    dockerfile = (resources() / "images" / recipe.dockerfile).read_bytes()
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as archive:
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(dockerfile)
            archive.addfile(entry, io.BytesIO(dockerfile))
            recipe.rootfs.write(archive, "rootfs")
        context.seek(0)
        said: list[str] = []
        for event in client.api.build(
            fileobj=context,
            custom_context=True,
            tag=recipe.tag,
            rm=True,
            forcerm=True,
            pull=False,
            decode=True,
            labels={
                Labels.SOURCE: source,
                Labels.FLAVOUR: recipe.flavour,
                Labels.CODE: own_code(recipe.flavour),
            },
        ):
            said.append(str(event.get("stream") or event.get("error") or "").strip())
            if "error" in event:
                raise EngineError(
                    f"the image {recipe.tag} could not be built: {event['error']}",
                    looked_at=" | ".join(filter(None, said[-5:])),
                    remedy=f"fix compose/images/{recipe.dockerfile}, or the engine, and run "
                    f"`{named('images')}` again",
                )
