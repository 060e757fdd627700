"""Add the options of scenarios to pytest's command line and configuration file.

Every run of pytest loads this module, so other modules interpret the options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

HELP = {
    "subject": "the client under test: reference, python:package.module:factory, "
    "'command:./my-client', a URL, or agent:CONFIG.toml",
    "declare": "a time that the client promises, NAME=SECONDS: max_stale, refresh, backoff_cap, "
    "deadline, min_ttl (may be repeated)",
    "only": "run this scenario only, or those of this severity or group: TOK-11, critical, "
    "MUST, SEA (may be repeated)",
    "report": "where journal.json and junit.xml go (default: report)",
    "seed": "seed of the network faults (default: a new one)",
    "repeat": "run each scenario N times; a scenario that passes and fails is flaky",
    "confirm": "confirm what does not pass at once in at least N further runs, with few scenarios "
    "beside them (default: until two runs agree)",
    "ttl_scale": "stretch all lives and the waits tied to them by this factor",
    "wire": "what is spoken between client and Vault: plain (default), tls, or h2: TLS that offers "
    "HTTP/2",
    "allow_not_exercised": "let the run succeed although a fault never touched the client",
    "strict": "fail the run for a SHOULD too: without it, a broken promise of medium or low "
    "severity is shown, and fails nothing",
    "shard": "run one of several parts that take about as long as each other: 2/4",
    "known": "what the client is known not to keep (default: vault-harness.toml, if it is there)",
    "write_known": "write what is broken in this run to that file",
    "durations": "show where the time went: starts, waits and processor time of each scenario",
    "workers": "how many scenarios run side by side (default: what a start of the client leaves "
    "room for, at most HARNESS_WORKERS)",
}

_LISTS = {"declare", "only"}

SWITCHES = {"allow_not_exercised", "durations", "strict", "write_known"}

_METAVARS = {
    "subject": "CLIENT",
    "declare": "NAME=SECONDS",
    "only": "ID",
    "report": "DIR",
    "seed": "N",
    "repeat": "N",
    "confirm": "N",
    "workers": "N",
    "ttl_scale": "FACTOR",
    "shard": "K/N",
    "known": "FILE",
    "wire": "WIRE",
}


FLAGS = tuple(f"vault_{name}" for name in HELP)
"""Where pytest keeps the values. An unused option is None or an empty list."""


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("vault-harness", "vault-harness: judging a Vault client")
    for name, text in HELP.items():
        flag = f"--vault-{name.replace('_', '-')}"
        dest = f"vault_{name}"
        if name in SWITCHES:
            group.addoption(flag, dest=dest, action="store_true", default=None, help=text)
            parser.addini(dest, text, type="bool", default=False)
            continue
        action = "append" if name in _LISTS else "store"
        group.addoption(
            flag, dest=dest, action=action, default=None, metavar=_METAVARS[name], help=text
        )
        if name in _LISTS:
            parser.addini(dest, text, type="linelist", default=[])
        else:
            parser.addini(dest, text, default="")
