"""What a server in a container needs of a cloud that unseals it: who asks, and by which plugin.

Whatever can be a file is one, of mode 0600 here and mounted read-only there, and its place is all
that the engine knows. Access keys of Amazon's are made into one. What the SDK takes from a variable
alone stays one: its value goes from the environment of whoever starts the server to the container,
by way of no file and no argument, and whoever may ask the engine (``docker inspect``) sees it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine._shape import NodeSpec
from vault_harness.errors import SettingsError

PLUGINS = "/vault/plugins"
_FOLDER = "/vault/seal/cloud"

_ACCESS_KEYS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}
_SHARED = "AWS_SHARED_CREDENTIALS_FILE"
_KEYS_NAME = "aws-credentials"

_NAMES_A_FILE = frozenset(
    {
        *(_SHARED, "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a server is told of its cloud beside its stanza.

    Attributes:
        files: Files here to paths inside, only to be read.
        places: Variables that name such paths.
        passed: Names of variables whose value is that of whoever starts it.
    """

    files: Mapping[Path, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """The variables of a container that is started now."""
        values = {name: os.environ[name] for name in self.passed if name in os.environ}
        return {**self.places, **values}


def told(spec: NodeSpec, directory: Path) -> Told:
    """What a node that a cloud unseals gets; nothing for any other.

    Args:
        spec: Of the node; see `with_cloud_seal`.
        directory: Where a file of access keys is kept. One of before stays if nobody is named now.

    Raises:
        SettingsError: A variable names a file that is not there.
    """
    mounted = dict(plugin_file(spec))
    if not spec.passes:
        return Told(files=mounted)
    given = {name: os.environ[name] for name in spec.passes if os.environ.get(name)}
    kept = directory / _KEYS_NAME
    places: dict[str, str] = {}
    if _ACCESS_KEYS.keys() & given.keys():
        keys = {_ACCESS_KEYS[name]: given.pop(name) for name in _ACCESS_KEYS if name in given}
        given.pop("AWS_PROFILE", None)  # access keys come before a profile, as for the SDK
        lines = ["[default]", *(f"{name} = {value}" for name, value in keys.items())]
        files.private_directory(directory)
        files.write_private(kept, "\n".join(lines) + "\n")
        given[_SHARED] = str(kept)
    elif given.keys() - {"AWS_CA_BUNDLE", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"}:
        kept.unlink(missing_ok=True)  # somebody else asks by now
    elif _SHARED in spec.passes and kept.exists():
        given[_SHARED] = str(kept)
    for name in sorted(_NAMES_A_FILE & given.keys()):
        path = Path(given.pop(name)).expanduser().absolute()
        if not path.is_file():
            raise SettingsError(
                f"{name} names a file that is not there",
                looked_at=str(path),
                remedy="put it there, or unset the variable",
            )
        mounted[path], places[name] = f"{_FOLDER}/{name}", f"{_FOLDER}/{name}"
    return Told(files=mounted, places=places, passed=tuple(sorted(given)))


def plugin_file(spec: NodeSpec) -> dict[Path, str]:
    """The program by which OpenBao knows the seal, and where it is inside."""
    folder, declared = spec.extra.get("plugin_directory"), spec.extra.get("plugin")
    if not isinstance(folder, str) or not isinstance(declared, Mapping):
        return {}
    commands = {str(plugin["command"]) for plugin in declared["kms"].values()}
    return {Path(folder) / command: f"{PLUGINS}/{command}" for command in commands}


def plugin_inside(extra: Mapping[str, object]) -> dict[str, object]:
    """The same declaration as a server in a container must read it."""
    return {**extra, "plugin_directory": PLUGINS} if "plugin_directory" in extra else dict(extra)


def in_compose(what: Told) -> dict[str, str | None]:
    """The variables of a service: None is the value of whoever runs Compose."""
    return {**what.places, **dict.fromkeys(what.passed)}


def passed_before(compose_file: Path) -> frozenset[str]:
    """Names of the variables that nodes were started with, by a compose file of ours."""
    try:
        services: Any = json.loads(compose_file.read_text())["services"]
    except (OSError, ValueError, KeyError):
        return frozenset()
    return frozenset(
        name
        for service in services.values()
        for name, value in (service.get("environment") or {}).items()
        if value is None
    )


def and_before(what: Told, names: Iterable[str]) -> Told:
    """What servers that run are told, whoever writes it down: with variables that are not set here.

    Args:
        what: What would be told from here.
        names: Of the variables that they were started with.
    """
    passed = {*what.passed, *(name for name in names if name not in what.places)}
    return replace(what, passed=tuple(sorted(passed)))


def check_told_again(compose_file: Path) -> None:
    """See that servers that run are not started anew without what they were started with.

    Compose replaces a container whose variables differ.

    Args:
        compose_file: Of the last start.

    Raises:
        SettingsError: A variable is not set any more.
    """
    if missing := sorted(name for name in passed_before(compose_file) if name not in os.environ):
        raise SettingsError(
            f"Vault runs with {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not set here: it would be started anew "
            "without, and could not unseal itself",
            looked_at=f"the environment; {compose_file}",
            remedy=f"set {'it' if len(missing) == 1 else 'them'} again; or {named('down')} first, "
            "if another credential takes its place",
        )
