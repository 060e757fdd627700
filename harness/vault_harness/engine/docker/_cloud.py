"""What a server in a container needs of a cloud that unseals it: who asks, and by which plugin.

Whatever can be a file is one, of mode 0600 here and mounted read-only there, and its place is all
that the engine knows. Access keys of Amazon's are made into one. What the SDK takes from a variable
alone stays one: its value goes from the environment of whoever starts the server to the container,
by way of no file and no argument, and whoever may ask the engine (``docker inspect``) sees it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine._cloud_seal import PLUGIN_VARIABLE
from vault_harness.engine._seal import ACCESS_KEYS_NAME
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
"""Of somebody else, who would come before the file of access keys."""

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


def told(spec: NodeSpec, directory: Path, *, kept: Path | None = None) -> Told:
    """What a node that a cloud unseals gets; nothing for any other.

    Access keys that are kept are used unless somebody else is named wholly, and are never removed.

    Args:
        spec: Of the node; see `with_cloud_seal`.
        directory: Where access keys of the environment become a file.
        kept: Where such a file of before is; None for the same directory.

    Raises:
        SettingsError: Access keys are not whole, or a variable names a file that is not there.
    """
    # Names alone: what is raised here has no value in its frame.
    given = {name for name in spec.passes if os.environ.get(name)}
    named_keys = given & _ACCESS_KEYS.keys()
    _check_whole(named_keys)
    given -= named_keys
    before = (kept or directory) / ACCESS_KEYS_NAME
    own = None
    if named_keys:
        own = directory / ACCESS_KEYS_NAME
    elif _SHARED in spec.passes and not _names_somebody(given) and before.exists():
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


def _names_somebody(given: Collection[str]) -> bool:
    """Whether variables say by themselves who asks Amazon's cloud, without access keys."""
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
            f"{' and '.join(sorted(given))} without {' and '.join(missing)}: nobody can ask the "
            "cloud with that",
            looked_at="the environment",
            remedy="set access keys wholly or not at all; without, those of an earlier start are "
            "used if there are any",
        )


def _write_access_keys(directory: Path) -> None:
    values = {key: os.environ.get(name) for name, key in _ACCESS_KEYS.items()}
    lines = ["[default]", *(f"{key} = {value}" for key, value in values.items() if value)]
    files.private_directory(directory)
    files.write_private(directory / ACCESS_KEYS_NAME, "\n".join(lines) + "\n")


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


def told_before(compose_file: Path) -> Told | None:
    """What nodes were told at the last start of all, by a compose file of ours; None without it."""
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


def check_told_again(compose_file: Path, spec: NodeSpec) -> None:
    """See that no server is started anew without what all were started with.

    Compose replaces a container whose variables differ; files that are mounted it finds where they
    were, whatever the environment says.

    Args:
        compose_file: Of the last start.
        spec: Of a node, as it would be configured now.

    Raises:
        SettingsError: A variable is not set any more, or another plugin is named.
    """
    before = told_before(compose_file)
    if before is None:
        return
    if missing := [name for name in before.passed if not os.environ.get(name)]:
        raise SettingsError(
            f"Vault was started with {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not set here: it would be started anew "
            "without, and could not unseal itself",
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
