"""The scenario suite in a separate pytest on a real server, as a team's CI runs it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.running import ran
from vault_harness.judge.catalogue import load

ROOT = Path(__file__).parents[3]

CATALOGUE = load(ROOT / "scenarios" / "catalogue.toml")

LIFE = CATALOGUE["TOK-19"].ttl
"""Life in seconds of the token of TOK-19."""

CLIENTS = '''
"""Clients under test: a correct one, and what can be wrong with it."""

import functools
import json
import os
import threading

from tests.subjects.lazy_client import LazyClient

PULSE = threading.Thread(target=threading.Event().wait, daemon=True)
PULSE.start()


class Good(LazyClient):
    """Correct; writes down what it must not say, for the test to look for."""

    def __init__(self, environ):
        super().__init__(environ)
        self._seen = {environ["VAULT_SECRET_ID"]} if "VAULT_SECRET_ID" in environ else set()

    def read(self, path, key):
        value = super().read(path, key)
        self._note(value, self._token and self._token.value)
        return value

    def _note(self, *secrets):
        self._seen.update(filter(None, secrets))
        with open(os.environ["SEEN"], "a", encoding="utf-8") as file:
            file.write("".join(f"{secret}\\n" for secret in self._seen))


class Leaky(Good):
    """Never gives its token back."""

    def close(self):
        self._timer and self._timer.cancel()


class Admitting(Leaky):
    """Says that it does not."""

    leaves = ["token"]


class Blurred(Good):
    """Calls a deleted secret missing: KV-03 is about that."""

    def read(self, path, key):
        try:
            return super().read(path, key)
        except Exception as error:
            if getattr(error, "outcome", "") == "deleted":
                error.outcome = "missing"
            raise


class Garbled(Good):
    """Adds a letter to a value, which is harm and needs no confirmation."""

    def read(self, path, key):
        return super().read(path, key) + "x"


class Moody(Good):
    """Blurred in every second instance that reads a deleted secret."""

    @functools.cached_property
    def _blurred(self):
        with open(os.environ["SEEN"] + ".instances", "a+", encoding="utf-8") as file:
            file.write("x")
            return file.tell() % 2 == 0

    def read(self, path, key):
        try:
            return super().read(path, key)
        except Exception as error:
            if getattr(error, "outcome", "") == "deleted" and self._blurred:
                error.outcome = "missing"
            raise


class Slow(Good):
    """Made for lives of a minute."""

    def __init__(self, environ):
        super().__init__(environ)
        self.declares = {**self.declares, "min_ttl": 60}


class Babbling(Good):
    """Right, but its errors hold its token."""

    def read(self, path, key):
        try:
            return super().read(path, key)
        except Exception as error:
            raise RuntimeError(f"cannot read {path} with {self._token.value}: {error}") from None


class Unready:
    """Cannot start."""

    def __init__(self, environ):
        raise RuntimeError("there is no configuration file")


class Beating(Good):
    """Needs the thread that its module has started when it was imported."""

    def read(self, path, key):
        if not PULSE.is_alive():
            raise RuntimeError("no pulse")
        return super().read(path, key)


class Deadly(Good):
    """Takes its process along."""

    def read(self, path, key):
        os._exit(3)
'''


@dataclass(frozen=True)
class Run:
    """A finished run of the suite.

    `out` has standard output, then standard error. `report` is the directory of journal and JUnit
    file. `seen` are secrets of the client that no output may have.
    """

    code: int
    out: str
    report: Path
    seen: frozenset[str]

    @cached_property
    def journal(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.report / "journal.json").read_text())
        return found

    @property
    def scenarios(self) -> dict[str, Any]:
        return {scenario["id"]: scenario for scenario in self.journal["scenarios"]}

    @property
    def words(self) -> dict[str, str]:
        return {id: scenario["word"] for id, scenario in self.scenarios.items()}  # noqa: A001 - it is one

    @cached_property
    def page(self) -> str:
        return (self.report / "index.html").read_text(encoding="utf-8")

    @cached_property
    def on_the_page(self) -> dict[str, Any]:
        """Return the data of the page's script, decompressed."""
        packed = re.search(r'<script id="data" type="text/plain">(.*?)</script>', self.page)
        assert packed is not None
        found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
        return found

    @cached_property
    def junit(self) -> ET.Element:
        return ET.parse(self.report / "junit.xml").getroot()  # noqa: S314 - we wrote it ourselves


@dataclass(frozen=True)
class Suite:
    """Runs the suite, with clients and reports in `directory`."""

    directory: Path

    def command(self, client: str, *options: str) -> list[str]:
        common = ["-p", "no:cacheprovider", "--vault-report", str(self.directory / "report")]
        subject = ["--vault-subject", f"python:clients_of_this_test:{client}"]
        return [sys.executable, "-m", "pytest", "scenarios", *common, *subject, *options]

    def environ(self) -> dict[str, str]:
        """Return the environment: the process engine, without a developer's own settings."""
        (self.directory / "clients_of_this_test.py").write_text(CLIENTS, encoding="utf-8")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VAULT_", "BAO_", "HARNESS_", "PYTEST_"))
        }
        return {
            **kept,
            "HARNESS_ENGINE": "process",
            "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            "SEEN": str(self.directory / "seen"),
        }

    def run(self, client: str, *options: str, timeout: float = 240.0) -> Run:
        done = ran(self.command(client, *options), cwd=ROOT, env=self.environ(), timeout=timeout)
        seen = self.directory / "seen"
        words = seen.read_text().split() if seen.exists() else []  # a value may have several lines
        known = frozenset(word for word in words if len(word) > 8)
        return Run(done.returncode, done.stdout + done.stderr, self.directory / "report", known)


def life_of_its_token(run: Run) -> float:
    """Return the asked and the granted life of TOK-19's token in seconds."""
    scenario = run.scenarios["TOK-19"]
    (login,) = [e for e in scenario["exchanges"] if e["kind"] == "login"]
    assert login["ttl"] == scenario["times"]["ttl"]
    life: float = login["ttl"]
    return life


Runs = Callable[[str, Sequence[str]], Run]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in two forks whose client fails one of four scenarios; a run before was killed."""
    suite = Suite(tmp_path_factory.mktemp("mixed"))
    parts = suite.directory / "report" / "parts-1"
    parts.mkdir(parents=True)
    (parts / "SEA-01.json").write_text('{"id": "SEA-01", "word": "fail"}')
    return suite.run(
        "Blurred",
        "--vault-only",
        "TOK-19,KV-01,KV-02",
        "--vault-only",
        "KV-03",
        "--vault-workers",
        "2",
    )
