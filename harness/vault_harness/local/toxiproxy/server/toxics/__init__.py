"""The toxics, each in a file of its own.

A module here with a subclass of `Stage` that has a ``type`` is a toxic; no list names it. A real
Toxiproxy server knows only upstream's eight types.
"""

from __future__ import annotations

import importlib
import pkgutil

from vault_harness.local.toxiproxy.server.toxics.stage import (
    CHUNK,
    Direction,
    Host,
    InvalidAttributes,
    Receiver,
    Sender,
    Stage,
    Toxic,
    now,
)

__all__ = [
    "CHUNK",
    "Direction",
    "Host",
    "InvalidAttributes",
    "Receiver",
    "Sender",
    "Stage",
    "Toxic",
    "now",
    "registry",
]


def registry() -> dict[str, type[Stage]]:
    """Return all toxics of this package by ``type``."""
    found: dict[str, type[Stage]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name == "stage":
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Stage) and value is not Stage:
                found[value.type] = value
    return found
