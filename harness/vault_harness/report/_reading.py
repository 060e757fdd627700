"""Reading a file that a run left, or that was committed: what is wrong with it is told in a line.

Such files come from other machines, other versions of this suite and merges by hand. One that is
read wrongly would be a verdict on a client, so nothing is guessed.
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
from vault_harness.report._moments import one_line
from vault_harness.report.formats import SCHEMA_VERSION

OTHERWISE = "give the file as a run left it in its report folder"

SHOWN = 20
"""Letters of a number that a message shows; a longer one is looked at before it is reckoned."""


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file: each key once, and no number that JSON does not have.

    Args:
        path: The file.
        what: What a message says of one that is not as wanted: "no journal of a run".

    Raises:
        SettingsError: It is not there, or holds no such object.
    """
    try:
        found = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_each_once,
        )
    except RecursionError:
        raise wrong(path, what, "it is nested too deeply") from None
    except FileNotFoundError as error:
        remedy = "run the scenarios first, or name the file that a run left"
        raise wrong(path, what, "there is no such file", remedy) from error
    except OSError as error:
        raise wrong(path, what, str(error.strerror or error)) from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise wrong(path, what, f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise wrong(path, what, f"it holds a JSON {_KINDS[type(found)]}, not an object")
    return found


def check_version(found: Mapping[str, Any], path: Path) -> None:
    """Refuse a format that this suite does not know.

    Raises:
        SettingsError: It is older or newer than `SCHEMA_VERSION`.
    """
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
        else "run the scenarios anew with this suite",
    )


def check_shape(model: type[BaseModel], found: Mapping[str, Any], path: Path, what: str) -> Any:
    """What a model makes of it.

    Strictly: who reads on reads the file's own values, by which "complete": "false" would be true.

    Raises:
        SettingsError: A field is missing or is of another type; the first one is named.
    """
    try:
        return model.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        raise wrong(path, what, f"{field}: {first['msg']}") from None


def check_ids(found: Mapping[str, Any], path: Path, what: str) -> None:
    """Refuse a journal with two verdicts on one scenario: which one counts?

    Raises:
        SettingsError: It has.
    """
    counts = Counter(str(one["id"]) for one in found["scenarios"])
    if twice := sorted(id for id, count in counts.items() if count > 1):  # noqa: A001 - it is one
        raise wrong(path, what, f"it has {', '.join(twice)} more than once")


def wrong(path: Path, what: str, cause: str, remedy: str = OTHERWISE) -> SettingsError:
    """What is wrong with a file, as an error."""
    cause = one_line(f"this is {what}: {cause}")  # what stands in a file is of anybody's
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
    """A number, and no infinity: Python makes one of 1e999, and JSON has none."""
    found = float(text)
    if math.isinf(found):
        raise ValueError(f"{text[:SHOWN]} is too large a number")
    return found


def _whole(text: str) -> int:
    if len(text) > SHOWN:
        _finite(text)
    return int(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found
