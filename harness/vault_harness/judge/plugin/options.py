"""Read the options of the scenarios."""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.errors import SettingsError, refuse_empty
from vault_harness.judge.plugin import HELP, SWITCHES

if TYPE_CHECKING:
    from vault_harness.judge.catalogue import Entry
    from vault_harness.judge.environment import Wire
    from vault_harness.judge.report.known import Known
    from vault_harness.local.engine.process.postgresql import SharedPostgresql
    from vault_harness.local.engine.shape import ToxiproxyProcess
    from vault_harness.recorder.witness import Witness


TABLE = "vault_harness_table"

TOXIPROXY: pytest.StashKey[ToxiproxyProcess] = pytest.StashKey()

POSTGRESQL: pytest.StashKey[SharedPostgresql] = pytest.StashKey()
"""Prepared but not started; scenarios with leases share it."""

OF_A_SUITE = pytest.StashKey[bool]()
"""Set in a suite of scenarios, in its workers too."""

WITNESS: pytest.StashKey[Witness] = pytest.StashKey()


@dataclass(frozen=True)
class Options:
    """The options; `HELP` has more.

    Attributes:
        only: Ids, groups and severities, in capitals; empty for all.
        known_file: None for ``vault-harness.toml``, if any.
        workers: 0 for as many as the client leaves room for.
        run: Name of this run, the same in all its processes.
        start: The most seconds from the subject's start to its ``hello``.
    """

    subject: str
    declared: dict[str, float]
    only: frozenset[str]
    report: Path
    seed: int
    repeat: int
    confirm: int
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
        return None if self.shard is None else f"{self.shard[0]}/{self.shard[1]}"

    def again(self, name: str, *, by_pytest: bool = False) -> str:
        """Return the command that runs one scenario again under the same conditions.

        Args:
            name: The scenario's id for the task, its node id for pytest.
        """
        from vault_harness.errors import named

        prefix = "--vault-" if by_pytest else "--"
        words = [f"{prefix}subject", self.subject]
        for time, value in self.declared.items():
            words += [f"{prefix}declare", f"{time}={value:g}"]
        words += [f"{prefix}seed", str(self.seed)]
        if self.ttl_scale != 1.0:
            words += [f"{prefix}ttl-scale", f"{self.ttl_scale:g}"]
        if self.wire != "plain":
            words += [f"{prefix}wire", self.wire]
        if by_pytest:
            return shlex.join(["pytest", name, *words])
        return named("scenarios", "--only", name, *words)


def typed(name: str) -> str:
    """Return an option as the user types it: the tasks have it without a prefix."""
    # Imported late: a run without scenarios must not load it.
    from vault_harness.errors import RUNNER_VARIABLE

    return f"--{name}" if os.environ.get(RUNNER_VARIABLE) else f"--vault-{name}"


_OPTIONS = pytest.StashKey[Options]()


def options(config: pytest.Config) -> Options:
    if _OPTIONS not in config.stash:
        config.stash[_OPTIONS] = _read_options(config)
    return config.stash[_OPTIONS]


def set_start(config: pytest.Config, seconds: float) -> None:
    config.stash[_OPTIONS] = replace(options(config), start=seconds)


def _read_options(config: pytest.Config) -> Options:
    def given(name: str) -> Any:
        found = config.getoption(f"vault_{name}")
        return config.getini(f"vault_{name}") if found is None else found

    for name in HELP.keys() - SWITCHES:
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
        confirm=_number("confirm", given("confirm") or "0", int),
        ttl_scale=_number("ttl-scale", given("ttl_scale") or "1", float, least=1),
        wire=_wire(given("wire") or "plain"),
        allow_not_exercised=bool(given("allow_not_exercised")),
        strict=bool(given("strict")),
        known_file=Path(text) if (text := given("known")) else None,
        write_known=bool(given("write_known")),
        shard=_shard(given("shard")),
        durations=bool(given("durations")),
        workers=_number("workers", given("workers") or "0", int),
        run=worker.get("vault_run", str(os.getpid())),
        start=worker.get("vault_start", 30.0),
    )


_KNOWN = pytest.StashKey["Known"]()


def known(config: pytest.Config) -> Known:
    if _KNOWN not in config.stash:
        from vault_harness.judge.report.known import load_known

        chosen = options(config)
        config.stash[_KNOWN] = load_known(chosen.known_file, begin=chosen.write_known)
    return config.stash[_KNOWN]


def _shard(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    from vault_harness.judge.catalogue import parse_shard

    return parse_shard(text)


def _wire(text: str) -> Wire:
    if text == "plain":
        return "plain"
    from vault_harness.judge.environment import WIRES

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
    declared: dict[str, float] = {}
    given = list(given)
    if not given:
        return declared
    from vault_harness.judge.subjects import DECLARATIONS

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
    """Return the words by which ``--vault-only`` names a scenario."""
    return {entry.id, entry.group, entry.severity.upper(), entry.obligation}


def refuse_unknown(wanted: Collection[str], entries: Iterable[Entry], looked_at: str) -> None:
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
    from difflib import get_close_matches

    close = [get_close_matches(word, there, n=1, cutoff=0.8) for word in unknown]
    found = sorted({word for words in close for word in words})
    return f"; is {', '.join(found)} meant?" if found else ""


def refuse_foreign(known: Known, entries: Iterable[Entry], file: Path | None) -> None:
    there = {entry.id for entry in entries}
    if unknown := sorted(known.ids - there):
        from vault_harness.judge.report.known import place_of

        raise SettingsError(
            f"{', '.join(unknown)} is known to fail, and is no scenario",
            looked_at=place_of(unknown[0], file),
            remedy=f"Remove its line, or correct its id{_meant(unknown, there)}",
        )
