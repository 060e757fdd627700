"""Flags of the embedded server, as Go's flag package reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vault_harness.toxiproxy.server.main import Options, UsageError, parse


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], Options()),
        (["-host", "192.0.2.1", "-port", "1"], Options(host="192.0.2.1", port="1")),
        (["--host=::1", "--port=2"], Options(host="::1", port="2")),
        (["-seed", "-5"], Options(seed=-5)),
        (["-seed=0x10"], Options(seed=16)),
        (["-proxy-metrics", "-runtime-metrics=false"], Options(proxy_metrics=True)),
        (["-config", "a.json", "--", "-version"], Options(config="a.json")),
        (["-version", "rest", "-port", "9"], Options(version=True)),
    ],
)
def test_flags(arguments: list[str], options: Options) -> None:
    """One or two dashes, value after a space or ``=``, and nothing after the first other word."""
    assert parse(arguments) == options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-nonsense"], "not defined: -nonsense"),
        (["-port"], "needs an argument: -port"),
        (["-seed", "1.5"], "-seed"),
        (["-proxy-metrics=maybe"], "-proxy-metrics"),
    ],
)
def test_wrong_flags(arguments: list[str], words: str) -> None:
    """The message names the flag."""
    with pytest.raises(UsageError, match=words):
        parse(arguments)


def test_starting_imports_little() -> None:
    """None of the client's libraries: that is what makes the start quick."""
    code = (
        "import sys, vault_harness.toxiproxy.server.main;"
        "print([name for name in ('requests', 'toxiproxy', 'pydantic', 'hvac', 'pytest')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
