"""Read a file that a run wrote or somebody committed, and say in one line what is wrong.

Such files come from other machines, versions and manual merges. A misread file would be a verdict
on a client, so nothing is guessed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from vault_harness.errors import SettingsError
from vault_harness.judge.report.formats import SCHEMA_VERSION
from vault_harness.judge.report.timing import one_line

OTHERWISE = "give the file as a run left it in its report folder"


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in a file. Duplicate keys, NaN and infinities are refused.

    `what` completes the message about a bad file: "no journal of a run".
    """
    try:
        found = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_each_once,
        )
    except RecursionError:
        raise wrong(path, what, "it is nested too deeply") from None
    except FileNotFoundError as error:
        remedy = "run the scenarios first, or name the file that a run left"
        raise wrong(path, what, "there is no such file", remedy) from error
    except OSError as error:
        raise wrong(path, what, str(error.strerror or error)) from error
    except ValueError as error:  # UnicodeDecodeError is a ValueError
        raise wrong(path, what, f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise wrong(path, what, f"it holds a JSON {_KINDS[type(found)]}, not an object")
    return found


def check_version(found: Mapping[str, Any], path: Path) -> None:
    version = found.get("schema_version")
    if version == SCHEMA_VERSION and type(version) is int:
        return
    suite = found.get("suite_version")
    by = f", {one_line(suite)}" if isinstance(suite, str) and suite else ""
    newer = type(version) is int and version > SCHEMA_VERSION
    said = f"schema_version {version}" if "schema_version" in found else "no schema_version"
    raise SettingsError(
        f"this file was made by {'a newer' if newer else 'an older'} suite{by}: it has {said}, "
        f"and this suite reads {SCHEMA_VERSION}",
        looked_at=str(path),
        remedy="update the suite that is installed here"
        if newer
        else "run the scenarios again with this suite",
    )


def check_shape(model: type[BaseModel], found: Mapping[str, Any], path: Path, what: str) -> Any:
    """Validate a file's content strictly with a model, and return the model.

    Later readers use the file's own values, where the string "false" would be true.
    """
    try:
        return model.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        raise wrong(path, what, f"{field}: {first['msg']}") from None


def check_ids(found: Mapping[str, Any], path: Path, what: str) -> None:
    counts = Counter(str(one["id"]) for one in found["scenarios"])
    if twice := sorted(id for id, count in counts.items() if count > 1):  # noqa: A001 - it is one
        raise wrong(path, what, f"it has {', '.join(twice)} more than once")


def wrong(path: Path, what: str, cause: str, remedy: str = OTHERWISE) -> SettingsError:
    cause = one_line(f"this is {what}: {cause}")  # a file's content may be anything
    return SettingsError(cause, looked_at=str(path), remedy=remedy)


_KINDS = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    """Python turns 1e999 into an infinity, which JSON does not have."""
    found = float(text)
    if math.isinf(found):
        raise ValueError(f"{text} is too large a number")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found
