"""A blueprint: what a Vault must contain, read from TOML and checked before any write.

``compose/blueprints/ecommerce.toml`` explains the format by example.
"""

from __future__ import annotations

import difflib
import re
import secrets
import string
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from vault_harness import namespaces, urls
from vault_harness.errors import BlueprintError
from vault_harness.local import policy
from vault_harness.settings import resources
from vault_harness.toml_lines import line_of

DEFAULT_BLUEPRINT = "ecommerce"

_ALPHABETS = {
    "letters-digits": string.ascii_letters + string.digits,
    "letters": string.ascii_letters,
    "digits": string.digits,
    "hex": "0123456789abcdef",
    "url-safe": string.ascii_letters + string.digits + "-_",
}
_DURATION = re.compile(r"(\d+)([smhd]?)")
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PLACEHOLDER = re.compile(r"\{(?:([^{}:]+):)?([^{}:]+)\}")
_BUILT_IN_POLICIES = frozenset({"default", "root"})


def _seconds(value: object) -> object:
    """Convert ``90``, ``"90s"``, ``"1h30m"`` or ``"30d"`` to seconds."""
    if not isinstance(value, str):
        return value
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f"{value!r} is not a duration: write seconds, or 30s, 5m, 1h, 30d")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _path(value: str) -> str:
    if value.strip("/") != value or "//" in value or not value or value != value.strip():
        raise ValueError(f"{value!r} is not a path: write it without slashes at its ends")
    # These characters mean something else in a URL.
    if re.search(r"[\s?#%\\]", value) or {".", ".."} & set(value.split("/")):
        raise ValueError(
            f"{value!r} is not a path: blanks, ? # % \\ and the parts . and .. are not allowed"
        )
    return value


def _name(value: str) -> str:
    # Vault keeps names in lower case, and they travel in URLs.
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", value):
        raise ValueError(f"{value!r}: use lower-case letters, digits, and - _ .")
    return value


Seconds = Annotated[int, BeforeValidator(_seconds), Field(ge=0)]
SecretPath = Annotated[str, AfterValidator(_path)]
Name = Annotated[str, AfterValidator(_name)]
Namespace = Annotated[str, AfterValidator(namespaces.normal)]
Scalar = str | int | float | bool


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Mount(_Model):
    """A KV version 2 secrets engine.

    `max_versions` 0 means Vault's default of 10. With `cas_required` each write must name the
    version that it replaces.
    """

    type: Literal["kv"] = "kv"
    version: Literal[2] = 2
    description: str = ""
    max_versions: int = Field(default=0, ge=0)
    cas_required: bool = False


class AuditDevice(_Model):
    """A file audit device. `file_path` is on the server; by default the engine's own log."""

    type: Literal["file"] = "file"
    file_path: str | None = None


class Policy(_Model):
    """An ACL policy: HCL in a file beside the blueprint, or inline. `rules` is loaded from it."""

    file: str | None = None
    rules: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.file) == bool(self.rules):
            raise ValueError("give either file or rules")
        return self


class AppRole(_Model):
    """An AppRole; the fields are Vault's, durations in seconds."""

    policies: tuple[str, ...]
    token_ttl: Seconds = 0
    token_max_ttl: Seconds = 0
    token_explicit_max_ttl: Seconds = 0
    token_period: Seconds = 0
    token_num_uses: int = Field(default=0, ge=0)
    token_type: Literal["default", "service", "batch"] = "default"  # noqa: S105 -- a kind of token
    token_bound_cidrs: tuple[str, ...] = ()
    token_no_default_policy: bool = False
    secret_id_ttl: Seconds = 0
    secret_id_num_uses: int = Field(default=0, ge=0)
    secret_id_bound_cidrs: tuple[str, ...] = ()
    bind_secret_id: bool = True

    @field_validator("bind_secret_id")
    @classmethod
    def _with_secret_ids(cls, given: bool) -> bool:
        if not given:
            raise ValueError(
                "seeding hands a secret-id to each role, and Vault makes none without this setting"
            )
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.token_max_ttl and self.token_ttl > self.token_max_ttl:
            raise ValueError("token_ttl is longer than token_max_ttl")
        if self.token_type == "batch" and (  # noqa: S105 -- a kind of token
            self.token_period or self.token_num_uses
        ):
            raise ValueError("a batch token can have neither token_period nor token_num_uses")
        return self

    def payload(self) -> dict[str, Any]:
        fields = self.model_dump(exclude={"policies"})
        fields["token_policies"] = self.policies
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


class Value(_Model):
    """One value of a secret, and its one source. The repr hides it."""

    value: Scalar | None = Field(default=None, repr=False)
    template: str | None = Field(default=None, repr=False)
    env: str | None = None
    default: Scalar | None = Field(default=None, repr=False)
    generate: int | None = Field(default=None, ge=1, le=4096)
    alphabet: str = "letters-digits"
    prefix: str = ""

    @model_validator(mode="before")
    @classmethod
    def _literal(cls, given: object) -> object:
        return {"value": given} if isinstance(given, str | int | float | bool) else given

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [
            self.value is not None,
            self.template is not None,
            self.env is not None or self.generate is not None,
        ]
        if sum(sources) != 1:
            raise ValueError("give text, or one of template, generate, env")
        if self.default is not None and (self.env is None or self.generate is not None):
            raise ValueError("default goes with env, and without generate")
        if len(set(self.characters)) < 2:
            raise ValueError("alphabet needs at least two different characters")
        return self

    @property
    def characters(self) -> str:
        return _ALPHABETS.get(self.alphabet, self.alphabet)

    @property
    def generated(self) -> bool:
        """Whether it is random if no other source has a value."""
        return self.generate is not None

    def new(self) -> str:
        if self.generate is None:
            raise ValueError("this value is not generated")
        characters = self.characters
        return self.prefix + "".join(secrets.choice(characters) for _ in range(self.generate))

    def references(self, path: str) -> list[tuple[str, str]]:
        """Return the values that its template names, as (path, key) in the same mount."""
        if self.template is None:
            return []
        return [(found[0] or path, found[1]) for found in _PLACEHOLDER.findall(self.template)]

    def fill(self, path: str, known: Mapping[tuple[str, str], Any]) -> str:
        """Return its template with values filled in, encoded if it is a URL."""
        pieces = _PLACEHOLDER.split(self.template or "")[::3]
        return urls.fill(pieces, [str(known[place]) for place in self.references(path)])


Secret = dict[str, Value]

LEAST_ROTATION = 5
"""Vault accepts no shorter `rotation_period`, in seconds."""


class StaticRole(_Model):
    """A user of a database, whose password Vault rotates."""

    username: str
    rotation_period: Seconds = Field(default=86400, ge=LEAST_ROTATION)


class Database(_Model):
    """A PostgreSQL that Vault's database engine logs in to.

    Attributes:
        connection_url: With ``{{username}}`` and ``{{password}}`` in their places.
        username: May change other users' passwords.
        mount: Made if it is missing.
        static_roles: Users whose passwords Vault rotates, by role name.
    """

    connection_url: str
    username: str
    password: Value = Field(repr=False)
    mount: SecretPath = "database"
    static_roles: dict[Name, StaticRole] = {}

    @field_validator("password")
    @classmethod
    def _known_elsewhere(cls, given: Value) -> Value:
        if given.generated or given.template is not None:
            raise ValueError("the database knows it already: give text, or env")
        return given


class Blueprint(_Model):
    """The whole content of a Vault.

    Attributes:
        namespace: Of everything except the audit devices, which belong to the whole server.
            Relative to the namespace that the blueprint is applied in.
        services: The AppRole that each service logs in with.
        secrets: Values by mount, path and key.
    """

    name: str
    description: str = ""
    namespace: Namespace = ""
    mounts: dict[SecretPath, Mount]
    audit: dict[Name, AuditDevice] = {}
    policies: dict[Name, Policy] = {}
    approles: dict[Name, AppRole] = {}
    services: dict[str, str] = {}
    secrets: dict[str, dict[SecretPath, Secret]] = Field(default={}, repr=False)
    databases: dict[Name, Database] = {}
    source: Path | None = Field(default=None, exclude=True)

    @classmethod
    def default(cls) -> Blueprint:
        return cls.load(resources() / "blueprints" / f"{DEFAULT_BLUEPRINT}.toml")

    @classmethod
    def load(cls, path: Path | str) -> Blueprint:
        """Read and check a blueprint file and its policies.

        Raise `BlueprintError` with ``file:line: field`` if something is wrong.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")  # TOML is UTF-8, whatever the locale is
        except (OSError, UnicodeDecodeError) as error:
            raise BlueprintError(
                f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}",
                looked_at=str(path),
                remedy="give the path of a blueprint file; the default one is the example",
            ) from None
        return cls.parse(text, source=path)

    @classmethod
    def parse(cls, text: str, *, source: Path) -> Blueprint:
        """Check the text of a blueprint; policy files are relative to ``source``."""
        return cls.of(content_of(text, source=source), source=source, text=text)

    @classmethod
    def of(cls, content: Mapping[str, Any], *, source: Path, text: str | None = None) -> Blueprint:
        """Check the content of a blueprint. Errors name a line of ``text``."""
        complaint = _Complaint(text, source)
        try:
            blueprint = cls.model_validate({**content, "source": source})
        except ValidationError as error:
            raise complaint.invalid(error) from None
        _check_references(blueprint, complaint)
        return blueprint.model_copy(update={"policies": _read_policies(blueprint, complaint)})

    def without_namespace(self) -> Blueprint:
        return self.model_copy(update={"namespace": ""})

    def with_approle(self, role: str, **changes: object) -> Blueprint:
        """Return a copy with changed fields of an old or new AppRole: ``token_ttl="4s"``."""
        fields: dict[str, Any] = {}
        if role in self.approles:
            fields = self.approles[role].model_dump()
        approle = AppRole.model_validate({**fields, **changes})
        return self.model_copy(update={"approles": {**self.approles, role: approle}})

    def with_policy(self, name: str, rules: str) -> Blueprint:
        policy.parse(rules)
        return self.model_copy(update={"policies": {**self.policies, name: Policy(rules=rules)}})

    def with_secret(
        self, path: str, values: Mapping[str, object], *, mount: str | None = None
    ) -> Blueprint:
        """Return a copy with a changed or new secret; ``values`` are literal or as in a file."""
        mount = mount or self.mount
        secret = {key: Value.model_validate(value) for key, value in values.items()}
        mounted = {**self.secrets.get(mount, {}), path: secret}
        return self.model_copy(update={"secrets": {**self.secrets, mount: mounted}})

    @property
    def mount(self) -> str:
        """The first mount, for most blueprints the only one."""
        return next(iter(self.mounts))

    def where(self, *path: str) -> str:
        """Return ``file:line: field`` of a setting."""
        try:
            text = self.source.read_text(encoding="utf-8") if self.source is not None else ""
        except OSError:
            text = ""
        field = ".".join(_quoted(part) for part in path)
        return f"{self.source}:{line_of(text, path)}: {field}" if text else field

    def paths(self) -> Iterator[tuple[str, str, Secret]]:
        """Yield every secret as (mount, path, values)."""
        for mount, mounted in self.secrets.items():
            for path, values in mounted.items():
                yield mount, path, values


def content_of(text: str, *, source: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _Complaint(text, source).syntax(error) from None
    content.pop("source", None)
    return content


class _Complaint:
    """Makes errors that name file, line and field, and never a value."""

    def __init__(self, text: str | None, source: Path) -> None:
        self._text = text
        self._source = source

    def at(self, path: tuple[str | int, ...], problem: str, remedy: str = "") -> BlueprintError:
        field = ".".join(_quoted(part) for part in path)
        line = "" if self._text is None else f":{line_of(self._text, path)}"
        return BlueprintError(
            f"{self._source}{line}: {field}: {problem}",
            looked_at=str(self._source),
            remedy=remedy or "correct it; nothing was written to Vault",
        )

    def syntax(self, error: tomllib.TOMLDecodeError) -> BlueprintError:
        said = str(error)
        found = re.search(r"\(at line (\d+), column (\d+)\)", said)
        line = found[1] if found else str((self._text or "").count("\n") + 1)
        message = re.sub(r" \(at .*\)$", "", said)
        return BlueprintError(
            f"{self._source}:{line}: TOML: {message}",
            looked_at=str(self._source),
            remedy="correct that line; nothing was written to Vault",
        )

    def invalid(self, error: ValidationError) -> BlueprintError:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = tuple(part for part in first["loc"] if part != "[key]")
        message = first["msg"].removeprefix("Value error, ")
        remedy = ""
        if first["type"] == "extra_forbidden":
            message = "there is no such setting"
            near = difflib.get_close_matches(str(path[-1]), _known_fields(path), n=1)
            remedy = f"did you mean {near[0]}?" if near else ""
        elif first["type"] == "missing":
            message = "is missing"
        return self.at(path, message, remedy)


def _known_fields(path: tuple[str | int, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "mounts": Mount,
        "audit": AuditDevice,
        "policies": Policy,
        "approles": AppRole,
        "secrets": Value,
        "databases": StaticRole if "static_roles" in path[:-1] else Database,
    }
    model = models.get(str(path[0]), Blueprint) if len(path) > 1 else Blueprint
    return list(model.model_fields)


def _quoted(part: str | int) -> str:
    text = str(part)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else f'"{text}"'


def _check_references(blueprint: Blueprint, complaint: _Complaint) -> None:
    for name, role in blueprint.approles.items():
        for wanted in role.policies:
            if wanted not in blueprint.policies and wanted not in _BUILT_IN_POLICIES:
                raise complaint.at(
                    ("approles", name, "policies"),
                    f"there is no policy {wanted}",
                    f"add it under [policies], or name one of {', '.join(blueprint.policies)}",
                )
    for service, role_name in blueprint.services.items():
        if role_name not in blueprint.approles:
            raise complaint.at(("services", service), f"there is no AppRole {role_name}")
    for mount, mounted in blueprint.secrets.items():
        if mount not in blueprint.mounts:
            raise complaint.at(("secrets", mount), f"there is no mount {mount}")
        _check_templates(mount, mounted, complaint)


def _check_templates(mount: str, mounted: Mapping[str, Secret], complaint: _Complaint) -> None:
    for path, values in mounted.items():
        for key, value in values.items():
            where = ("secrets", mount, path, key)
            for other_path, other_key in value.references(path):
                other = mounted.get(other_path, {}).get(other_key)
                if other is None:
                    raise complaint.at(where, f"there is no {other_path}:{other_key} to fill in")
                if other.template is not None:
                    raise complaint.at(
                        where, f"{other_path}:{other_key} is a template itself; name its parts"
                    )


def _read_policies(blueprint: Blueprint, complaint: _Complaint) -> dict[str, Policy]:
    found = {}
    base = (blueprint.source or Path()).parent
    for name, given in blueprint.policies.items():
        where = ("policies", name)
        rules, file = given.rules, None
        if given.file is not None:
            file = base / given.file
            try:
                rules = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise complaint.at((*where, "file"), f"{file} cannot be read: {reason}") from None
        try:
            parsed = policy.parse(rules)
        except policy.PolicyError as error:
            place = f"{file}:{error.line}" if file else f"line {error.line} of the rules"
            raise complaint.at(where, f"{place}: {error}") from None
        if not parsed:
            raise complaint.at(where, "the policy has no path block")
        found[name] = given.model_copy(update={"rules": rules})
    return found
