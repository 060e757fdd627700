"""``stack.json``: what a task must know of an earlier task's stack. No secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vault_harness import files
from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.engine.provider import (
    PROXY_NAME,
    Endpoints,
    KnownServers,
    NodeEndpoint,
    tls_files,
)
from vault_harness.local.engine.shape import EngineName

FILE_NAME = "stack.json"
FORMAT = 5
"""A program refuses a newer version, whose features it would ignore: 1 had a single node and no
number, 2 no seal except Shamir's, 3 no TLS, 4 no client certificates."""


@dataclass
class StackRecord(KnownServers):
    """The content of ``stack.json``.

    `choice` tells why its engine was chosen. `seeded` is the name of the last applied blueprint.
    """

    choice: str = ""
    seeded: str = ""
    blueprint: str = ""

    @classmethod
    def load(cls, data_dir: Path) -> StackRecord:
        """Read the record, in any version up to ours; empty if there is none."""
        path = data_dir / FILE_NAME
        try:
            content: Any = json.loads(path.read_text())
            number = content.get("format", 1)
            if number in range(1, FORMAT + 1):
                return cls(
                    engine=cast("EngineName | None", content.get("engine")),
                    endpoints=_first_endpoints(content)
                    if number == 1
                    else _endpoints(content, data_dir),
                    services=dict(content.get("services") or {}),
                    seal=str(content.get("seal") or "shamir"),
                    tls=bool(content.get("tls")),
                    client_certs=bool(content.get("client_certs")),
                    choice=str(content.get("choice") or ""),
                    seeded=str(content.get("seeded") or ""),
                    blueprint=str(content.get("blueprint") or ""),
                )
        except FileNotFoundError:
            return cls()
        except NotADirectoryError:
            raise no_folder(data_dir) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StackError(
                f"{FILE_NAME} cannot be read: {error}",
                looked_at=str(path),
                remedy=f"move {path} aside; {named('up')} finds what runs, and writes a new one",
            ) from None
        raise StackError(
            f"{FILE_NAME} has a format that this program does not know",
            looked_at=f"{path}: format {number!r}, known are 1 to {FORMAT}",
            remedy="use the newer program that wrote it; the file is left as it is",
        )

    def save(self, data_dir: Path) -> None:
        content = {
            "format": FORMAT,
            "engine": self.engine,
            "choice": self.choice,
            "nodes": [asdict(node) for node in self.endpoints.nodes] if self.endpoints else [],
            "balancer": asdict(self.endpoints.balancer)
            if self.endpoints and self.endpoints.balancer
            else None,
            "toxiproxy": self.endpoints.toxiproxy if self.endpoints else None,
            "services": self.services,
            "seal": self.seal,
            "tls": self.tls,
            "client_certs": self.client_certs,
            "seeded": self.seeded,
            "blueprint": self.blueprint,
        }
        path = files.private_directory(data_dir) / FILE_NAME
        files.write_private(path, json.dumps(content, indent=2) + "\n")


class StackRecordFile:
    """The record as a provider's `Memory`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def load(self) -> StackRecord:
        return StackRecord.load(self._data_dir)

    def save(self, known: KnownServers) -> None:
        if not isinstance(known, StackRecord):
            known = StackRecord(
                *(known.engine, known.endpoints, known.services, known.seal),
                tls=known.tls,
                client_certs=known.client_certs,
            )
        known.save(self._data_dir)


def no_folder(path: Path) -> SettingsError:
    in_the_way = next((each for each in (path, *path.parents) if each.is_file()), path)
    return SettingsError(
        f"{in_the_way} is a file, and the data directory is a folder",
        looked_at=str(path),
        remedy="let HARNESS_DATA_DIR name a new or an empty folder, or move that file aside",
    )


def _endpoints(content: Mapping[str, Any], data_dir: Path) -> Endpoints | None:
    nodes = tuple(NodeEndpoint(**node) for node in content["nodes"])
    if not nodes:
        return None
    balancer = content.get("balancer")
    tls = tls_files(data_dir) if content.get("tls") else None
    return Endpoints(
        nodes=nodes,
        toxiproxy=str(content["toxiproxy"]),
        balancer=NodeEndpoint(**balancer) if balancer else None,
        ca_cert=tls.ca if tls else None,
    )


def _first_endpoints(content: Mapping[str, Any]) -> Endpoints | None:
    known = content.get("endpoints")
    if not known:
        return None
    node = NodeEndpoint(
        name=PROXY_NAME,
        address=str(known["vault"]),
        proxy=str(known["proxy"]),
        proxy_listen=str(known["proxy_listen"]),
        upstream=str(known["proxy_upstream"]),
    )
    return Endpoints(nodes=(node,), toxiproxy=str(known["toxiproxy"]))
