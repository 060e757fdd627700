"""The toxics, each in a file of its own.

A module here that defines a subclass of `Stage` with a ``type`` is a toxic: nothing else needs to
know its name. Types beyond upstream's eight are unknown to a real Toxiproxy server.
"""

from __future__ import annotations

import importlib
import pkgutil

from vault_harness.toxiproxy.server.toxics._stage import (
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
    """Every toxic of this package by its ``type``."""
    found: dict[str, type[Stage]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Stage) and value is not Stage:
                found[value.type] = value
    return found
