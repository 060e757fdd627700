"""The embedded server has the flags of the real one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vault_harness.local.toxiproxy.server.main import parse

DEFAULTS = {
    "host": "localhost",
    "port": "8474",
    "config": "",
    "seed": None,
    "proxy_metrics": False,
    "runtime_metrics": False,
    "version": False,
}


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["-host", "192.0.2.1", "-port", "1"], {"host": "192.0.2.1", "port": "1"}),
        (["--host=::1", "--port=2"], {"host": "::1", "port": "2"}),
        (["-seed", "-5"], {"seed": -5}),
        (["-seed=0x10"], {"seed": 16}),
        (["-proxy-metrics", "-runtime-metrics=false"], {"proxy_metrics": True}),
        (["-version=T", "-config=a.json"], {"version": True, "config": "a.json"}),
    ],
)
def test_flags(arguments: list[str], changed: dict[str, object]) -> None:
    """It has one or two dashes; its value follows a space or ``=``."""
    assert vars(parse(arguments)) == DEFAULTS | changed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-nonsense"], "-nonsense"),
        (["-port"], "-port"),
        (["-seed", "1.5"], "-seed"),
        (["-proxy-metrics=maybe"], "-proxy-metrics"),
    ],
)
def test_wrong_flags(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_starting_imports_little() -> None:
    """It imports none of the client's libraries."""
    code = (
        "import sys, vault_harness.local.toxiproxy.server.main;"
        "print([name for name in ('requests', 'toxiproxy', 'pydantic', 'hvac', 'pytest')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
