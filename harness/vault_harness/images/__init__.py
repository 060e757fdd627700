"""Container images from programs that are on this machine: no registry is asked."""

from vault_harness.images._build import (
    LOCAL_BALANCER,
    LOCAL_PYTHON,
    LOCAL_SERVICES,
    LOCAL_TOXIPROXY,
    LOCAL_VAULT,
    BuiltImage,
    Labels,
    build_images,
    own_code,
)

__all__ = [
    "build_images",
    "BuiltImage",
    "Labels",
    "own_code",
    "LOCAL_PYTHON",
    "LOCAL_VAULT",
    "LOCAL_TOXIPROXY",
    "LOCAL_SERVICES",
    "LOCAL_BALANCER",
]
