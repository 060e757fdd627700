"""Read Vault policies (HCL or JSON), as far as is needed to check them first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CAPABILITIES = frozenset(
    [
        *("create", "read", "update", "patch", "delete", "list", "sudo", "deny"),
        *("scan", "subscribe", "recover"),  # OpenBao, Vault Enterprise, Vault 1.20
    ]
)

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>\#[^\n]*|//[^\n]*|/\*.*?\*/)|(?P<string>"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<word>[A-Za-z_][\w.-]*)|(?P<number>-?\d+(?:\.\d+)?)|(?P<mark>[{}\[\]=,:])""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Rule:
    """One ``path`` block.

    Attributes:
        path: With its ``*`` and ``+``.
        capabilities: Empty if it grants in another way (``policy = "read"``).
        line: From 1.
        settings: Names of its other settings.
    """

    path: str
    capabilities: frozenset[str]
    line: int
    settings: frozenset[str] = frozenset()


class PolicyError(ValueError):
    """A policy that Vault would refuse; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> list[Rule]:
    rules = _from_json(text) if text.lstrip().startswith("{") else _Parser(text).rules()
    for rule in rules:
        unknown = sorted(rule.capabilities - CAPABILITIES)
        if unknown:
            known = ", ".join(sorted(CAPABILITIES))
            raise PolicyError(f"unknown capability {unknown[0]} (known: {known})", rule.line)
    return rules


def _from_json(text: str) -> list[Rule]:
    try:
        content: Any = json.loads(text)
        paths = content.get("path", {})
        return [
            Rule(
                str(path),
                frozenset(body.get("capabilities", ())),
                1,
                frozenset(body) - {"capabilities"},
            )
            for path, body in paths.items()
        ]
    except json.JSONDecodeError as error:
        raise PolicyError(error.msg, error.lineno) from None
    except AttributeError:
        raise PolicyError("expected an object of paths", 1) from None


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._last_line = text.count("\n") + 1
        self._index = 0

    def rules(self) -> list[Rule]:
        found = []
        while self._index < len(self._tokens):
            word = self._take("word")
            if word.text == "path":
                found.append(self._rule(word.line))
            else:
                self._attribute_value(word)
        return found

    def _rule(self, line: int) -> Rule:
        path = self._take("string").text[1:-1]
        self._take("mark", "{")
        capabilities: list[str] = []
        settings: set[str] = set()
        while not self._peek_is("}"):
            key = self._next()
            if key.kind not in {"word", "string"}:
                raise PolicyError(f"expected a setting, found {key.text}", key.line)
            values = self._attribute_value(key)
            name = key.text.strip('"')
            if name == "capabilities":
                capabilities = values
            else:
                settings.add(name)
        self._take("mark", "}")
        return Rule(path, frozenset(capabilities), line, frozenset(settings))

    def _attribute_value(self, key: _Token) -> list[str]:
        if not self._peek_is("{"):  # `control_group = {` and `control_group {` are the same
            mark = self._take("mark")
            if mark.text not in "=:":
                raise PolicyError(f"expected = after {key.text}, found {mark.text}", mark.line)
        return self._value()

    def _value(self) -> list[str]:
        token = self._next()
        if token.kind in {"string", "number", "word"}:
            return [token.text.strip('"')]
        if token.text == "[":
            return self._items("]")
        if token.text == "{":
            while not self._peek_is("}"):
                self._attribute_value(self._next())
                self._skip(",")
            self._take("mark", "}")
            return []
        raise PolicyError(f"expected a value, found {token.text}", token.line)

    def _items(self, end: str) -> list[str]:
        values: list[str] = []
        while not self._peek_is(end):
            values += self._value()
            if not self._peek_is(end):
                self._take("mark", ",")
        self._take("mark", end)
        return values

    def _next(self) -> _Token:
        if self._index >= len(self._tokens):
            raise PolicyError("the policy ends in the middle of a block", self._last_line)
        self._index += 1
        return self._tokens[self._index - 1]

    def _take(self, kind: str, text: str | None = None) -> _Token:
        token = self._next()
        if token.kind != kind or (text is not None and token.text != text):
            raise PolicyError(f"expected {text or kind}, found {token.text}", token.line)
        return token

    def _peek_is(self, text: str) -> bool:
        return self._index < len(self._tokens) and self._tokens[self._index].text == text

    def _skip(self, text: str) -> None:
        if self._peek_is(text):
            self._index += 1


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:].split("\n", 1)[0]
            raise PolicyError(f"cannot read {rest[:20]!r}", line)
        kind = str(match.lastgroup)
        if kind not in {"space", "comment"}:
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
        position = match.end()
