"""Every setting of the harness, read from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault_harness import namespaces
from vault_harness.addresses import is_base_url
from vault_harness.errors import SettingsError

EngineChoice = Literal["auto", "process", "docker", "external"]
ToxiproxyChoice = Literal["embedded", "binary"]

_PACKAGE = Path(__file__).resolve().parent
PACKAGE_ROOT = _PACKAGE.parent

DEFAULT_VAULT_IMAGE = "hashicorp/vault:1.20.4"
DEFAULT_TOXIPROXY_IMAGE = "ghcr.io/shopify/toxiproxy:2.12.0"
DEFAULT_HAPROXY_IMAGE = "haproxy:3.2.4"


def checkout() -> Path | None:
    """Return the root of the checkout; None for an installed wheel."""
    root = PACKAGE_ROOT.parent
    return root if (root / "tasks.py").is_file() and (root / "compose").is_dir() else None


def resources() -> Path:
    root = checkout()
    return root / "compose" if root is not None else _PACKAGE / "_compose"


def scenarios_folder() -> Path:
    root = checkout()
    return root / "scenarios" if root is not None else _PACKAGE / "scenarios"


def documents() -> Path:
    root = checkout()
    return root / "docs" if root is not None else _PACKAGE / "_docs"


def _default_data_dir() -> Path:
    return (checkout() or Path.cwd()) / "vault-data"


def _alias(name: str) -> AliasChoices:
    return AliasChoices(f"HARNESS_{name}", name)


class Settings(BaseSettings):
    """All settings; each field is ``HARNESS_<FIELD>`` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="HARNESS_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
    )

    engine: EngineChoice = Field(
        default="auto",
        description="How servers run: `process`, `docker`, or `external` for a Vault elsewhere. "
        "`auto` means processes; `up` takes containers if the engine and the images are there",
    )
    toxiproxy: ToxiproxyChoice = Field(
        default="embedded",
        description="`embedded`, the Toxiproxy of this package, or `binary`, a real one",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the stack of `up` keeps all that it has. Unset: `vault-data` in the "
        "checkout, or in the current folder for an installed package",
    )
    blueprint: Path | None = Field(
        default=None,
        description="The blueprint file of all tasks. Unset: the blueprint that was applied last, "
        "or the e-commerce example",
    )
    vault_port: int = Field(
        default=8200,
        ge=0,
        le=65535,
        description="Vault's port on loopback, or that of the balancer before three nodes. A port "
        "of 0 is a free one, picked at the first `up` and kept",
    )
    proxy_port: int = Field(
        default=8201,
        ge=0,
        le=65535,
        description="Port of the Toxiproxy proxy before Vault, which clients use",
    )
    toxiproxy_port: int = Field(
        default=8474, ge=0, le=65535, description="Port of Toxiproxy's own API"
    )
    vault_binary: Path | None = Field(
        default=None,
        description="The program of servers that run as processes. Unset: `vault` or `bao` on "
        "PATH, else the `bao` of the packages",
    )
    kms_plugin: Path | None = Field(
        default=None,
        description="The plugin by which OpenBao knows the seal of a cloud, such as "
        "`openbao-plugin-kms-aws`",
    )
    toxiproxy_binary: Path | None = Field(
        default=None,
        description="The program of `HARNESS_TOXIPROXY=binary`. Unset: `toxiproxy-server` on PATH",
    )
    vault_image: str = Field(
        default=DEFAULT_VAULT_IMAGE,
        validation_alias=_alias("VAULT_IMAGE"),
        description="Image of Vault. Any `openbao/openbao` works, and so does the "
        "`vault-harness/vault:local` of `images`",
    )
    toxiproxy_image: str = Field(
        default=DEFAULT_TOXIPROXY_IMAGE,
        validation_alias=_alias("TOXIPROXY_IMAGE"),
        description="Image of Toxiproxy; `vault-harness/toxiproxy:local` works too",
    )
    haproxy_image: str = Field(
        default=DEFAULT_HAPROXY_IMAGE,
        validation_alias=_alias("HAPROXY_IMAGE"),
        description="Image of HAProxy, for three nodes; `vault-harness/haproxy:local` works too",
    )
    vault_addr: str | None = Field(
        default=None,
        validation_alias=_alias("VAULT_ADDR"),
        description="The Vault of the external engine, `http(s)://host:port`",
    )
    vault_token: SecretStr | None = Field(
        default=None,
        validation_alias=_alias("VAULT_TOKEN"),
        description="An operator's token for the external Vault",
    )
    vault_cacert: Path | None = Field(
        default=None,
        validation_alias=_alias("VAULT_CACERT"),
        description="CA certificate for the external Vault",
    )
    vault_client_cert: Path | None = Field(
        default=None,
        validation_alias=_alias("VAULT_CLIENT_CERT"),
        description="Certificate that the tasks show to an external Vault that asks for one",
    )
    vault_client_key: Path | None = Field(
        default=None,
        validation_alias=_alias("VAULT_CLIENT_KEY"),
        description="Key of that certificate, unless the same file has both",
    )
    vault_namespace: str = Field(
        default="",
        validation_alias=_alias("VAULT_NAMESPACE"),
        description="The namespace in which the tasks work. A blueprint's own lies below it. "
        "Unset: the root",
    )
    workers: int = Field(
        default=24,
        ge=1,
        description="How many scenarios run side by side. Unset: half as many in containers",
    )
    start_timeout: float = Field(
        default=15.0,
        gt=0,
        description="Seconds in which a server must answer after its start. A process on a busy "
        "machine gets more, at most eight times as many",
    )
    lock_timeout: float = Field(
        default=60.0,
        ge=0,
        description="Seconds to wait for another task that holds the stack",
    )

    @field_validator(
        *("data_dir", "blueprint", "vault_binary", "kms_plugin"),
        *("toxiproxy_binary", "vault_cacert", "vault_client_cert", "vault_client_key"),
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return None if value is None else Path(value).expanduser().absolute()
        except RuntimeError:  # unknown user, or HOME is not set
            raise ValueError("there is no home directory for its ~") from None

    @field_validator("vault_addr")
    @classmethod
    def _address(cls, value: str | None, info: ValidationInfo) -> str | None:
        # The other engines do not use it, and clients may accept more forms.
        if value and info.data.get("engine") == "external" and not is_base_url(value):
            raise ValueError("an address begins with http:// or https://, and a host follows")
        return value

    @field_validator("vault_namespace")
    @classmethod
    def _namespace(cls, value: str) -> str:
        return namespaces.normal(value)

    @classmethod
    def from_environment(cls, **overrides: object) -> Settings:
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls.model_validate({**_environment_values(cls), **given}) if given else cls()
        except ValidationError as error:
            raise _settings_error(error) from None


def _environment_values(cls: type[Settings]) -> dict[str, object]:
    return {name: getattr(settings, name) for settings in [cls()] for name in cls.model_fields}


def _settings_error(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False, include_input=False)[0]
    variable = _variable(str(first["loc"][0]) if first["loc"] else "?")
    return SettingsError(
        f"{variable}: {first['msg'].removeprefix('Value error, ')}",
        looked_at="the environment",
        remedy=f"set {variable} to a value that fits, or unset it for the default",
    )


def _variable(field: str) -> str:
    """Return the variable that set a field, since some fields have two."""
    own = field if field.isupper() else f"HARNESS_{field.upper()}"
    for each in Settings.model_fields.values():
        names = each.validation_alias
        if isinstance(names, AliasChoices) and own in names.choices:
            return next((str(name) for name in names.choices if os.environ.get(str(name))), own)
    return own
