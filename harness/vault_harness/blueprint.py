"""What a Vault must contain, as data: read from TOML, checked before anything is written.

The file format is explained by its example, ``compose/blueprints/ecommerce.toml``.
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

from vault_harness import namespaces, policy
from vault_harness.errors import BlueprintError
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
    """``90``, ``"90s"``, ``"1h30m"``, ``"30d"``: seconds."""
    if not isinstance(value, str):
        return value
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f"{value!r} is no duration: write seconds, or 30s, 5m, 1h, 30d")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _path(value: str) -> str:
    if value.strip("/") != value or "//" in value or not value or value != value.strip():
        raise ValueError(f"{value!r} is no path: write it without slashes at its ends")
    # They travel in URLs, where these mean something else.
    if re.search(r"[\s?#%\\]", value) or {".", ".."} & set(value.split("/")):
        raise ValueError(
            f"{value!r} is no path: it may hold no blank, ? # % \\, and no . or .. part"
        )
    return value


def _name(value: str) -> str:
    # Vault keeps names of policies and roles in lower case, and they travel in URLs.
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
    """A KV v2 secrets engine.

    Attributes:
        type: ``kv``.
        version: 2.
        description: For people.
        max_versions: How many versions of a secret are kept; 0 is Vault's default of 10.
        cas_required: Whether each write must name the version that it replaces.
    """

    type: Literal["kv"] = "kv"
    version: Literal[2] = 2
    description: str = ""
    max_versions: int = Field(default=0, ge=0)
    cas_required: bool = False


class AuditDevice(_Model):
    """A file audit device.

    Attributes:
        type: ``file``.
        file_path: Where the server writes; by default where the engine keeps its audit log.
    """

    type: Literal["file"] = "file"
    file_path: str | None = None


class Policy(_Model):
    """An ACL policy: HCL in a file beside the blueprint, or inline.

    Attributes:
        file: Path of the HCL file, relative to the blueprint.
        rules: The HCL itself. After loading always there.
    """

    file: str | None = None
    rules: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.file) == bool(self.rules):
            raise ValueError("give either file or rules")
        return self


class AppRole(_Model):
    """An AppRole; the fields are Vault's, durations in seconds.

    Attributes:
        policies: Names of policies that its tokens get.
        token_type: ``service``, ``batch`` or ``default``.
        bind_secret_id: Only true: each role is handed a secret-id.
    """

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
        """What ``auth/approle/role/<name>`` takes, and gives back on reading."""
        fields = self.model_dump(exclude={"policies"})
        fields["token_policies"] = self.policies
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


class Value(_Model):
    """One value of a secret, and where it comes from. Its repr does not show it.

    Exactly one source: ``value``, ``template``, or ``env`` and/or ``generate`` (``env`` first, then
    ``default`` or ``generate`` when the variable is not set).
    """

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
        """What a generated value is made of."""
        return _ALPHABETS.get(self.alphabet, self.alphabet)

    @property
    def generated(self) -> bool:
        """Whether it is random when nothing else is there."""
        return self.generate is not None

    def new(self) -> str:
        """A fresh random value.

        Raises:
            ValueError: It is not of that kind.
        """
        if self.generate is None:
            raise ValueError("this value is not generated")
        characters = self.characters
        return self.prefix + "".join(secrets.choice(characters) for _ in range(self.generate))

    def references(self, path: str) -> list[tuple[str, str]]:
        """The values that its template names, as (path, key) in the same mount."""
        if self.template is None:
            return []
        return [(found[0] or path, found[1]) for found in _PLACEHOLDER.findall(self.template)]

    def fill(self, path: str, known: Mapping[tuple[str, str], Any]) -> str:
        """Its template with the values of ``known`` put in."""
        return _PLACEHOLDER.sub(
            lambda match: str(known[(match[1] or path, match[2])]), self.template or ""
        )


Secret = dict[str, Value]


class Blueprint(_Model):
    """Everything a Vault must contain.

    Attributes:
        name: Its name.
        description: For people.
        namespace: Where all of it is but the audit devices, which are the whole server's: below
            the namespace that it is applied in; empty for that one itself.
        mounts: KV engines by mount path.
        audit: Audit devices by name.
        policies: ACL policies by name.
        approles: AppRoles by name.
        services: Which AppRole each service logs in with.
        secrets: Values by mount, path and key.
        source: The file it was read from.
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
    source: Path | None = Field(default=None, exclude=True)

    @classmethod
    def default(cls) -> Blueprint:
        """The e-commerce platform's."""
        return cls.load(resources() / "blueprints" / f"{DEFAULT_BLUEPRINT}.toml")

    @classmethod
    def load(cls, path: Path | str) -> Blueprint:
        """Read and check a blueprint file and the policies that it names.

        Raises:
            BlueprintError: Something is wrong; the cause starts with ``file:line: field``.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")  # as TOML has it, whatever the locale is
        except (OSError, UnicodeDecodeError) as error:
            raise BlueprintError(
                f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}",
                looked_at=str(path),
                remedy="give the path of a blueprint file; the default one is the example",
            ) from None
        return cls.parse(text, source=path)

    @classmethod
    def parse(cls, text: str, *, source: Path) -> Blueprint:
        """Read and check the text of a blueprint; policies are sought beside ``source``.

        Raises:
            BlueprintError: As `load` says.
        """
        complaint = _Complaint(text, source)
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise complaint.syntax(error) from None
        content.pop("source", None)
        try:
            blueprint = cls.model_validate({**content, "source": source})
        except ValidationError as error:
            raise complaint.invalid(error) from None
        _check_references(blueprint, complaint)
        return blueprint.model_copy(update={"policies": _read_policies(blueprint, complaint)})

    def without_namespace(self) -> Blueprint:
        """A copy that is in whichever namespace it is applied in."""
        return self.model_copy(update={"namespace": ""})

    def with_approle(self, role: str, **changes: object) -> Blueprint:
        """A copy in which an AppRole, maybe a new one, has other fields: ``token_ttl="4s"``."""
        fields: dict[str, Any] = {}
        if role in self.approles:
            fields = self.approles[role].model_dump()
        approle = AppRole.model_validate({**fields, **changes})
        return self.model_copy(update={"approles": {**self.approles, role: approle}})

    def with_policy(self, name: str, rules: str) -> Blueprint:
        """A copy with another, or one more, policy."""
        policy.parse(rules)
        return self.model_copy(update={"policies": {**self.policies, name: Policy(rules=rules)}})

    def with_secret(
        self, path: str, values: Mapping[str, object], *, mount: str | None = None
    ) -> Blueprint:
        """A copy with another, or one more, secret; ``values`` are literal or as in a file."""
        mount = mount or self.mount
        secret = {key: Value.model_validate(value) for key, value in values.items()}
        mounted = {**self.secrets.get(mount, {}), path: secret}
        return self.model_copy(update={"secrets": {**self.secrets, mount: mounted}})

    @property
    def mount(self) -> str:
        """The first mount, which for most blueprints is the only one."""
        return next(iter(self.mounts))

    def where(self, *path: str) -> str:
        """``file:line: field`` of a setting, for messages."""
        try:
            text = self.source.read_text(encoding="utf-8") if self.source is not None else ""
        except OSError:
            text = ""
        field = ".".join(_quoted(part) for part in path)
        return f"{self.source}:{line_of(text, path)}: {field}" if text else field

    def paths(self) -> Iterator[tuple[str, str, Secret]]:
        """Every secret as (mount, path, values)."""
        for mount, mounted in self.secrets.items():
            for path, values in mounted.items():
                yield mount, path, values


class _Complaint:
    """Makes errors that name file, line and field, and never a value."""

    def __init__(self, text: str, source: Path) -> None:
        self._text = text
        self._source = source

    def at(self, path: tuple[str | int, ...], problem: str, remedy: str = "") -> BlueprintError:
        field = ".".join(_quoted(part) for part in path)
        line = line_of(self._text, path)
        return BlueprintError(
            f"{self._source}:{line}: {field}: {problem}",
            looked_at=str(self._source),
            remedy=remedy or "correct that line; nothing was written to Vault",
        )

    def syntax(self, error: tomllib.TOMLDecodeError) -> BlueprintError:
        said = str(error)
        found = re.search(r"\(at line (\d+), column (\d+)\)", said)
        line = found[1] if found else str(self._text.count("\n") + 1)
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
