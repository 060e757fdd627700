"""Credentials and plugin for a server in a container that a cloud unseals.

Credentials become files where possible: mode 0600 here, mounted read-only. Values that the SDK
takes only from variables go straight to the container; ``docker inspect`` shows them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import SettingsError, named
from vault_harness.local.engine.seal import ACCESS_KEYS_NAME, PLUGIN_VARIABLE
from vault_harness.local.engine.shape import NodeSpec

PLUGINS = "/vault/plugins"
_FOLDER = "/vault/seal/cloud"

_ACCESS_KEYS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}
_SHARED = "AWS_SHARED_CREDENTIALS_FILE"
_ROLE = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
_FROM_CONTAINER = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_BESIDE_ACCESS_KEYS = frozenset(
    {
        *("AWS_PROFILE", "AWS_ROLE_SESSION_NAME", *_ROLE, *_FROM_CONTAINER),
        *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    }
)
"""The SDK would prefer these over the file of access keys."""

_NAMES_A_FILE = frozenset(
    {
        *(_SHARED, "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a server gets for its cloud, besides its stanza.

    Attributes:
        files: Paths here to paths inside, read-only.
        places: Variables that name such paths.
        passed: Names of variables; values come from the environment at the start.
    """

    files: Mapping[Path, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        values = {name: os.environ[name] for name in self.passed if name in os.environ}
        return {**self.places, **values}


def told(spec: NodeSpec, directory: Path, *, kept: Path | None = None) -> Told:
    """Return what a node that a cloud unseals gets; nothing for another node.

    Kept access keys apply unless other variables name complete credentials. They are never removed.

    Args:
        spec: The result of `with_cloud_seal`.
        directory: Gets the file of access keys in the environment.
        kept: Folder of that file from an earlier start; None for `directory`.
    """
    # Names only: a traceback shows no values.
    given = {name for name in spec.passes if os.environ.get(name)}
    named_keys = given & _ACCESS_KEYS.keys()
    _check_whole(named_keys)
    given -= named_keys
    before = (kept or directory) / ACCESS_KEYS_NAME
    own = None
    if named_keys:
        own = directory / ACCESS_KEYS_NAME
    elif _SHARED in spec.passes and not _names_credentials(given) and before.exists():
        own = before
    if own is not None:
        given -= _BESIDE_ACCESS_KEYS | {_SHARED}
    mounted, places = dict(plugin_file(spec)), dict[str, str]()
    for name in sorted(_NAMES_A_FILE & given):
        path = Path(os.environ[name]).expanduser().absolute()
        if not path.is_file():
            raise SettingsError(
                f"{name} names a file that is not there",
                looked_at=files.told(Path(os.environ[name]).expanduser(), name),
                remedy="put it there, or unset the variable",
            )
        mounted[path] = places[name] = f"{_FOLDER}/{name}"
    if own is not None:
        mounted[own] = places[_SHARED] = f"{_FOLDER}/{_SHARED}"
    if named_keys:
        _write_access_keys(directory)
    return Told(files=mounted, places=places, passed=tuple(sorted(given - _NAMES_A_FILE)))


def _names_credentials(given: Collection[str]) -> bool:
    """Return whether variables name other complete credentials."""
    return (
        _SHARED in given
        or all(name in given for name in _ROLE)
        or any(name in given for name in _FROM_CONTAINER)
    )


def _check_whole(given: Collection[str]) -> None:
    both = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    missing = [name for name in both if name not in given]
    if given and missing:
        raise SettingsError(
            f"{' and '.join(sorted(given))} without {' and '.join(missing)}: these credentials "
            "are incomplete",
            looked_at="the environment",
            remedy="set all access keys or none; without them, those of an earlier start are used "
            "if there are any",
        )


def _write_access_keys(directory: Path) -> None:
    values = {key: os.environ.get(name) for name, key in _ACCESS_KEYS.items()}
    lines = ["[default]", *(f"{key} = {value}" for key, value in values.items() if value)]
    files.private_directory(directory)
    files.write_private(directory / ACCESS_KEYS_NAME, "\n".join(lines) + "\n")


def plugin_file(spec: NodeSpec) -> dict[Path, str]:
    folder, declared = spec.extra.get("plugin_directory"), spec.extra.get("plugin")
    if not isinstance(folder, str) or not isinstance(declared, Mapping):
        return {}
    commands = {str(plugin["command"]) for plugin in declared["kms"].values()}
    return {Path(folder) / command: f"{PLUGINS}/{command}" for command in commands}


def plugin_inside(extra: Mapping[str, object]) -> dict[str, object]:
    return {**extra, "plugin_directory": PLUGINS} if "plugin_directory" in extra else dict(extra)


def in_compose(what: Told) -> dict[str, str | None]:
    """Return a Compose service's variables; None takes the value from the environment."""
    return {**what.places, **dict.fromkeys(what.passed)}


def variables_before(compose_file: Path) -> Told | None:
    """Return what nodes got at the last start; None without a compose file."""
    try:
        services: Any = json.loads(compose_file.read_text())["services"]
        service = next(iter(services.values()))
        mounted = {
            Path(each["source"].replace("$$", "$")): str(each["target"])
            for each in service["volumes"]
            if each["target"].startswith((f"{_FOLDER}/", f"{PLUGINS}/"))
        }
        variables = dict(service.get("environment") or {})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None
    return Told(
        files=mounted,
        places={name: value for name, value in variables.items() if value is not None},
        passed=tuple(sorted(name for name, value in variables.items() if value is None)),
    )


def check_same_variables(compose_file: Path, spec: NodeSpec) -> None:
    """Refuse to recreate a server without the credentials or plugin that it was started with.

    Compose replaces a container whose variables differ. Mounted files stay.
    """
    before = variables_before(compose_file)
    if before is None:
        return
    if missing := [name for name in before.passed if not os.environ.get(name)]:
        raise SettingsError(
            f"Vault was started with {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not set here: a start without this credential "
            "would leave Vault sealed",
            looked_at=f"the environment; {compose_file}",
            remedy=f"set {'it' if len(missing) == 1 else 'them'} again; or {named('down')} first, "
            "if another credential takes its place",
        )
    plugins = {path for path, inside in before.files.items() if inside.startswith(f"{PLUGINS}/")}
    if plugins != plugin_file(spec).keys():
        raise SettingsError(
            f"Vault was started with another {PLUGIN_VARIABLE}: it would be configured for a "
            "plugin that it does not have, and could not unseal itself",
            looked_at=f"it had {', '.join(map(str, sorted(plugins))) or 'none'}",
            remedy=f"set {PLUGIN_VARIABLE} as it was; or {named('down')} first",
        )
