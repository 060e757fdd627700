from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.walking import places

VALUE = "value-of-a-secret-4711"


@dataclass
class Account:
    """A value behind a `repr` that hides it."""

    password: str

    def __repr__(self) -> str:
        return "Account()"


def raised(code: str, **given: object) -> BaseException:
    """Return what a function of another file raises."""
    namespace: dict[str, Any] = {}
    exec(compile(code, "elsewhere", "exec"), namespace)  # noqa: S102 -- a frame of another file
    doing: Callable[..., object] = namespace["outer"]
    with pytest.raises(ValueError, match="no secret") as caught:
        doing(**given)
    return caught.value


def test_it_finds_what_a_local_variable_holds() -> None:
    code = "def outer(accounts):\n    raise ValueError('no secret in the text')\n"
    found = places(raised(code, accounts={"a": [Account(VALUE)]}), {VALUE}, of=__file__)
    assert "elsewhere:2 outer accounts a 0 password" in found


def test_it_finds_what_a_cause_says() -> None:
    code = (
        "def outer(text):\n"
        "    try:\n        raise KeyError(text)\n"
        "    except KeyError:\n        del text\n        raise ValueError('no secret')\n"
    )
    assert places(raised(code, text=VALUE), {VALUE}, of=__file__)


def test_it_finds_nothing_where_nothing_is() -> None:
    code = "def outer(accounts):\n    raise ValueError('no secret in the text')\n"
    assert places(raised(code, accounts=[Account("harmless")]), {VALUE}, of=__file__) == []


def test_it_finds_what_passed_an_error_that_a_variable_holds() -> None:
    code = (
        "def outer(text):\n"
        "    try:\n        inner(text)\n"
        "    except KeyError as error:\n        held = error\n"
        "    del text\n"
        "    other(held)\n"
        "def inner(text):\n    raise KeyError('no text')\n"
        "def other(held):\n    raise ValueError('no secret') from held\n"
    )
    assert places(raised(code, text=VALUE), {VALUE}, of=__file__)
