"""The options of the scenarios: on the command line, and in the configuration file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.errors import SettingsError, refuse_empty

if TYPE_CHECKING:
    from vault_harness.engine import ToxiproxyProcess
    from vault_harness.report.known import Known
    from vault_harness.scenario import Entry
    from vault_harness.scenario.postgresql import SharedPostgresql
    from vault_harness.scenario.tls import Wire


TABLE = "vault_harness_table"
"""Name of the plugin that prints where the terminal is."""

TOXIPROXY: pytest.StashKey[ToxiproxyProcess] = pytest.StashKey()
"""A server that several processes share, for this one to use."""

POSTGRESQL: pytest.StashKey[SharedPostgresql] = pytest.StashKey()
"""Another one, begun for the scenarios that have leases."""


@dataclass(frozen=True)
class Options:
    """What the command line, or else the configuration file, asks for.

    Attributes:
        subject: The client under test.
        declared: Times that it promises, in seconds.
        only: Ids, groups and severities, in capitals; empty for all.
        report: Where journal and JUnit file go.
        seed: Of the network faults.
        repeat: How many times each scenario runs.
        ttl_scale: By how much lives are stretched.
        wire: What is spoken between the client and Vault.
        allow_not_exercised: Whether a scenario that proves nothing lets the run succeed.
        strict: Whether a SHOULD that is not kept fails the run.
        known_file: What the client is known not to keep; None for ``vault-harness.toml``, if any.
        write_known: Whether what is broken is known from now on.
        shard: Which part of how many is run; None for all.
        durations: Whether it is told where the time went.
        workers: How many scenarios run side by side; 0 for as many as the client leaves room for.
        run: Name of this run, the same in all its processes.
        start: Seconds from the subject's start to its ``hello``.
    """

    subject: str
    declared: dict[str, float]
    only: frozenset[str]
    report: Path
    seed: int
    repeat: int
    ttl_scale: float
    wire: Wire
    allow_not_exercised: bool
    strict: bool
    known_file: Path | None
    write_known: bool
    shard: tuple[int, int] | None
    durations: bool
    workers: int
    run: str
    start: float = 30.0

    @property
    def part(self) -> str | None:
        """The part of a whole run, as it was given: ``2/4``."""
        return None if self.shard is None else f"{self.shard[0]}/{self.shard[1]}"


_HELP = {
    "subject": "the client under test: reference, python:package.module:factory, "
    "'command:./my-client', a URL, or agent:CONFIG.toml",
    "declare": "a time that the client promises, NAME=SECONDS: max_stale, refresh, backoff_cap, "
    "deadline, min_ttl (may be repeated)",
    "only": "run this scenario only, or those of this severity or group: TOK-11, critical, "
    "MUST, SEA (may be repeated)",
    "report": "where journal.json and junit.xml go (default: report)",
    "seed": "seed of the network faults (default: a new one)",
    "repeat": "run each scenario N times: one that passes and fails is flaky",
    "ttl_scale": "stretch all lives and the waits tied to them by this factor",
    "wire": "what is spoken between client and Vault: plain (default), tls, or h2: TLS that offers "
    "HTTP/2",
    "allow_not_exercised": "let the run succeed although a fault never touched the client",
    "strict": "fail the run for a SHOULD too: without it, a broken promise of medium or low "
    "severity is shown, and fails nothing",
    "shard": "run one of several parts that take about as long as each other: 2/4",
    "known": "what the client is known not to keep (default: vault-harness.toml, if it is there)",
    "write_known": "write what is broken in this run to that file",
    "durations": "tell where the time went: starts, waits and processor time of each scenario",
    "workers": "how many scenarios run side by side (default: what a start of the client leaves "
    "room for, at most HARNESS_WORKERS)",
}

_LISTS = {"declare", "only"}

_SWITCHES = {"allow_not_exercised", "durations", "strict", "write_known"}

_METAVARS = {
    "subject": "CLIENT",
    "declare": "NAME=SECONDS",
    "only": "ID",
    "report": "DIR",
    "seed": "N",
    "repeat": "N",
    "workers": "N",
    "ttl_scale": "FACTOR",
    "shard": "K/N",
    "known": "FILE",
    "wire": "WIRE",
}


def add_options(parser: pytest.Parser) -> None:
    """Make the options known, each with its twin in the configuration file."""
    group = parser.getgroup("vault-harness", "vault-harness: judging a Vault client")
    for name, text in _HELP.items():
        flag = f"--vault-{name.replace('_', '-')}"
        dest = f"vault_{name}"
        if name in _SWITCHES:
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


def typed(name: str) -> str:
    """An option as whoever runs the suite types it: the tasks have it without a prefix."""
    # Here, since a run without scenarios loads nothing that only they need.
    from vault_harness.commands import RUNNER_VARIABLE

    return f"--{name}" if os.environ.get(RUNNER_VARIABLE) else f"--vault-{name}"


_OPTIONS = pytest.StashKey[Options]()


def options(config: pytest.Config) -> Options:
    """The options of this run.

    Raises:
        SettingsError: One of them does not make sense.
    """
    if _OPTIONS not in config.stash:
        config.stash[_OPTIONS] = _read_options(config)
    return config.stash[_OPTIONS]


def set_start(config: pytest.Config, seconds: float) -> None:
    """Grant a subject so long to its ``hello``, in all processes of this run."""
    config.stash[_OPTIONS] = replace(options(config), start=seconds)


def _read_options(config: pytest.Config) -> Options:
    def given(name: str) -> Any:
        found = config.getoption(f"vault_{name}")
        return config.getini(f"vault_{name}") if found is None else found

    from vault_harness.scenario.durations import parse_shard

    for name in _HELP.keys() - _SWITCHES:
        texts = config.getoption(f"vault_{name}")
        given_as = typed(name.replace("_", "-"))
        refuse_empty(given_as, texts if isinstance(texts, list) else [texts])
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    seed = worker.get("vault_seed")
    if seed is None:
        said = given("seed")
        seed = random.SystemRandom().randrange(2**31) if said == "" else _number("seed", said, int)
    only = {word.strip().upper() for text in given("only") for word in str(text).split(",")}
    return Options(
        subject=given("subject") or "reference",
        declared=parse_declared(given("declare")),
        only=frozenset(only - {""}),
        report=Path(given("report") or "report"),
        seed=seed,
        repeat=_number("repeat", given("repeat") or "1", int, least=1),
        ttl_scale=_number("ttl-scale", given("ttl_scale") or "1", float, least=1),
        wire=_wire(given("wire") or "plain"),
        allow_not_exercised=bool(given("allow_not_exercised")),
        strict=bool(given("strict")),
        known_file=Path(text) if (text := given("known")) else None,
        write_known=bool(given("write_known")),
        shard=parse_shard(given("shard")),
        durations=bool(given("durations")),
        workers=_number("workers", given("workers") or "0", int),
        run=worker.get("vault_run", str(os.getpid())),
        start=worker.get("vault_start", 30.0),
    )


_KNOWN = pytest.StashKey["Known"]()


def known(config: pytest.Config) -> Known:
    """What the client is known not to keep.

    Raises:
        SettingsError: The file that says so cannot be read.
    """
    if _KNOWN not in config.stash:
        from vault_harness.report.known import load_known

        chosen = options(config)
        config.stash[_KNOWN] = load_known(chosen.known_file, begin=chosen.write_known)
    return config.stash[_KNOWN]


def _wire(text: str) -> Wire:
    from vault_harness.scenario.tls import WIRES

    for wire in WIRES:
        if text == wire:
            return wire
    raise SettingsError(
        f"{typed('wire')} {text} does not make sense",
        looked_at="the command line and the configuration file",
        remedy=f"Give one of {', '.join(WIRES)}",
    )


def _number(name: str, text: str, kind: Callable[[str], Any], *, least: float = 0) -> Any:
    try:
        found = kind(text)
    except ValueError:
        found = None
    if found is None or not least <= found < float("inf"):
        raise SettingsError(
            f"{typed(name)} {text} does not make sense",
            looked_at="the command line and the configuration file",
            remedy=f"Give a number from {least:g} on",
        )
    return found


def parse_declared(given: Iterable[str]) -> dict[str, float]:
    """Declarations as numbers.

    Raises:
        SettingsError: Not NAME=SECONDS, or an unknown name.
    """
    from vault_harness.subjects import DECLARATIONS

    declared = {}
    for text in given:
        name, _, seconds = text.partition("=")
        try:
            declared[name] = float(seconds)
        except ValueError:
            declared[name] = -1.0
        if name not in DECLARATIONS or not 0 <= declared[name] < float("inf"):
            raise SettingsError(
                f"{typed('declare')} {text} does not make sense",
                looked_at="the command line",
                remedy=f"Give NAME=SECONDS, where NAME is one of {', '.join(sorted(DECLARATIONS))}",
            )
    return declared


def words_of(entry: Entry) -> set[str]:
    """The words by which ``--vault-only`` names a scenario."""
    return {entry.id, entry.group, entry.severity.upper(), entry.obligation}


def refuse_unknown(wanted: Collection[str], entries: Iterable[Entry], looked_at: str) -> None:
    """Refuse a choice that chooses nothing.

    Raises:
        SettingsError: A word names no scenario.
    """
    entries = list(entries)
    there = {word for entry in entries for word in words_of(entry)}
    if unknown := sorted(set(wanted) - there):
        raise SettingsError(
            f"{typed('only')} {', '.join(unknown)} names no scenario",
            looked_at=looked_at,
            remedy="Give an id (TOK-11), a group (TOK) or a severity (critical, MUST)"
            + _meant(unknown, there),
        )


def _meant(unknown: Iterable[str], there: Collection[str]) -> str:
    """The end of a remedy: what may be meant by words that are nearly others; or nothing."""
    from difflib import get_close_matches

    close = [get_close_matches(word, there, n=1, cutoff=0.8) for word in unknown]
    found = sorted({word for words in close for word in words})
    return f"; is {', '.join(found)} meant?" if found else ""


def refuse_foreign(known: Known, entries: Iterable[Entry], file: Path | None) -> None:
    """Refuse known failures of scenarios that nobody has: a file that rots says nothing.

    Raises:
        SettingsError: An id is in no catalogue.
    """
    there = {entry.id for entry in entries}
    if unknown := sorted(known.ids - there):
        from vault_harness.report.known import place_of

        raise SettingsError(
            f"{', '.join(unknown)} is known to fail, and is no scenario",
            looked_at=place_of(unknown[0], file),
            remedy=f"Take its line out, or mend its id{_meant(unknown, there)}",
        )
