"""Judge a client, after a check of its contract, and write a first adapter for one."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command, option, repeated
from vault_harness.cli.common import ENGINE, one_of, scenario_ids, settings, use_engine, wrong
from vault_harness.cli.printing import complain, plural, say, table
from vault_harness.cli.running import run_pytest, suite_place
from vault_harness.errors import EngineError, SettingsError, named
from vault_harness.files import write_text

if TYPE_CHECKING:
    from vault_harness.judge.rehearsal import Rehearsal


@dataclass(frozen=True)
class Suite:
    """How a client is judged."""

    subject: str | None = option(
        "the client under test: reference, python:MODULE:FACTORY, command:..., "
        "http://..., agent:FILE"
    )
    only: list[str] = repeated(
        "an id (TOK-11), a group (TOK) or a severity (critical, MUST); may be repeated"
    )
    declare: list[str] = repeated(
        "a time that the client promises, e.g. max_stale=30; may be repeated"
    )
    seed: int | None = option("seed of the network faults, as a failure printed it")
    repeat: int | None = option(
        "how many times each scenario runs; a scenario that passes and fails is flaky"
    )
    confirm: int | None = option(
        "how many further runs confirm what does not pass at once, with few scenarios beside "
        "them; by default until two runs agree"
    )
    ttl_scale: float | None = option(
        "stretch all lives by this factor, for clients that expect longer ones"
    )
    strict: bool = option(
        "fail for a SHOULD too: a promise of medium or low severity", default=False
    )
    wire: str | None = option(
        "what client and Vault speak: plain, tls, or h2 (TLS that offers HTTP/2)"
    )
    shard: str | None = option(
        "run one of several parts that take about as long as each other: 2/4"
    )
    workers: int | None = option(
        "how many scenarios run side by side; the client's start is then not measured, "
        "and may take 30 s"
    )
    known: str | None = option(
        "what the client is known not to keep, default vault-harness.toml if it is there"
    )
    write_known: bool = option("write what is broken in this run to that file", default=False)
    report: str | None = option("where journal, page and score go, default report/")
    durations: bool = option("show where the time went", default=False)
    last_failed: bool = option(
        "run what did not pass in the last run of this client; all if everything passed",
        default=False,
    )
    engine: str | None = option(ENGINE)
    args: str = option(
        "further arguments for pytest, which loads only the plugins named by -p", default=""
    )

    def checked(self) -> Suite:
        """Return the options with the scenarios that ``--last-failed`` chooses."""
        if self.workers is not None:
            settings(workers=self.workers)
        return replace(self, only=self._chosen()) if self.last_failed else self

    def words(self) -> list[str]:
        words = suite_place()
        for field in fields(self):
            option, value = f"--vault-{field.name.replace('_', '-')}", getattr(self, field.name)
            if field.name in {"last_failed", "engine", "args"}:
                continue  # this command line's own
            if value is True:
                words.append(option)
            elif isinstance(value, list):
                words += [word for one in value for word in (option, one)]
            elif value is not None and value is not False:
                words += [option, str(value)]
        return [*words, *shlex.split(self.args)]

    def _chosen(self) -> list[str]:
        """Return what did not pass in the last run; empty for all scenarios."""
        if self.only:
            raise wrong(
                "--only and --last-failed both choose scenarios",
                "leave one of them out",
            )
        file = Path(self.report or "report") / "journal.json"
        found = _not_passed(file, self.subject or "reference")
        if found is None:
            complain(f"{file} has no run of this client: every scenario runs")
        elif found:
            complain(f"{plural(len(found), 'scenario')} did not pass last time: {', '.join(found)}")
        else:
            complain("every scenario of the last run passed: every scenario runs")
        return found or []


@command(
    "scenarios",
    group="judge",
    judges=True,
    examples=(
        "scenarios",
        "scenarios --subject python:yourpackage.module:factory",
        "scenarios --subject 'command:./client --flag' --only TOK-11 --only SEA",
        "scenarios --only critical --declare max_stale=30",
    ),
)
def scenarios(suite: Suite) -> None:
    """Break Vault in every way, and judge a client.

    Each scenario has a Vault of its own. `docs how-to/test-your-client` says how to name a client
    and what it must do. The report folder holds the verdicts and the history of every scenario.

    Exit code 0: every promise was kept, or is a known failure; 1: a promise was broken, or a known
    failure passed; 2: a scenario was not exercised, or all were skipped; 3: the harness broke down,
    or the run did not finish; 4: the command line, a setting or a file is wrong; 5: no scenario was
    chosen; 130, 143, 129: interrupted.
    """
    use_engine(suite.engine)
    run_pytest(*suite.checked().words())


@command(
    "judge",
    group="judge",
    judges=True,
    examples=("judge --subject 'command:./my-client'", "judge --subject http://127.0.0.1:9000"),
    fields=(
        *("subject", "declare", "strict", "shard", "workers", "known", "write_known", "report"),
        *("last_failed", "engine"),
    ),
    help={
        "subject": "your client: python:MODULE:FACTORY, command:..., http://..., agent:FILE, "
        "reference",
        "workers": "how many scenarios run side by side; the default depends on the client's start",
        "anyway": "judge it although it breaks its contract",
    },
)
def judge(suite: Suite, anyway: bool = False) -> None:
    """Judge your client, with nothing else to set.

    It first runs `subject check`, which takes seconds. A client that breaks its contract is not
    judged: exit code 4.

    The most important scenarios come first. Their number side by side depends on the cost of a
    client's start, unless --workers sets it. `docs judge` explains exit codes, known failures and
    CI.
    """
    if not suite.subject:
        raise wrong(
            "judge needs --subject: the client to judge",
            f"{named('judge')} --subject 'command:./my-client'; "
            f"{named('docs', 'how-to/test-your-client')} says how",
        )
    use_engine(suite.engine)
    words = suite.checked().words()
    if not anyway and suite.subject != "reference":
        see_that_contract_is_kept(suite.subject)
    run_pytest(*words)


def _not_passed(journal: Path, subject: str) -> list[str] | None:
    """Return what did not pass, or did not run before an interrupt."""
    from vault_harness.judge.report import load

    run = load(journal) if journal.is_file() else {}
    if run.get("subject") != subject:
        return None
    passed = {one["id"] for one in run["scenarios"] if one["word"] in ("pass", "skipped")}
    return sorted(set(scenario_ids()) - passed - run.get("left_out", {}).keys())


_JAR = "vault-java-driver-6.2.0.jar"
_COPY = "mvn dependency:copy -Dartifact=io.github.jopenlibs:vault-java-driver:6.2.0"

ADAPTERS = {
    "python": ("vault_adapter.py", "hvac", "pip install hvac", "python vault_adapter.py"),
    "go": (
        "vault_adapter.go",
        "github.com/hashicorp/vault/api",
        "go mod init vault-adapter && go mod tidy && go build -o vault-adapter .",
        "./vault-adapter",
    ),
    "node": (
        "vault_adapter.mjs",
        "node-vault",
        "npm install node-vault",
        "node vault_adapter.mjs",
    ),
    "java": (
        "VaultAdapter.java",
        "vault-java-driver",
        f"{_COPY} -DoutputDirectory=. && javac -cp {_JAR} VaultAdapter.java",
        f"java -cp {_JAR}:. VaultAdapter",
    ),
}
"""By language: its file, its library, how to build it, how to run it."""

LOG_LINES = 12


@command(
    "subject.check",
    group="judge",
    judges=True,
    examples=("subject check 'command:./my-client'", "subject check python:shop.secrets:Source"),
    help={
        "subject": "the client under test: reference, python:MODULE:FACTORY, command:..., "
        "http://..., agent:FILE",
        "start": "how long its start may take, until its hello; default 60s",
    },
)
def check(subject: str, start: Seconds = 60.0) -> None:
    """Speak the protocol with a client, and break nothing.

    It reports what the client lacks, what is slow, and misplaced output. Exit code 0: it keeps its
    contract; 1: it does not; 3: the harness broke down; 4: a wrong command line.
    """
    from vault_harness.judge.report import in_short, one_line

    came = _rehearsed(subject, start)
    say(table([(step.name, f"{step.seconds:.2f} s", step.said) for step in came.steps]))
    if came.remarks:
        say()
        say(table([(remark.kind, one_line(str(remark))) for remark in came.remarks]))
    if came.log and not came.well:
        say("\nit logged last")
        # A client's log must not control this terminal.
        say("\n".join(f"  {one_line(in_short(line.rstrip()))}" for line in came.log[-LOG_LINES:]))
    say(f"\n{'it keeps to its contract' if came.well else 'it breaks its contract'}: {subject}")
    if not came.well:
        raise SystemExit(1)


@command(
    "subject.new",
    group="judge",
    judges=True,
    examples=("subject new python", "subject new go"),
    help={"language": "python, go, node or java"},
)
def new(language: str) -> None:
    """Write a program that puts a Vault client under test.

    It speaks the line protocol, and passes `subject check` unchanged. It has 40 lines around a
    well-known library; a comment shows the place for your own client.
    """
    from vault_harness.judge import subjects

    name, library, building, run = ADAPTERS[
        one_of(ADAPTERS, language, f"there is no adapter for {language}")
    ]
    file = Path(name)
    if file.exists():
        raise SettingsError(
            f"{name} is here already, and stays as it is",
            looked_at=str(file.absolute()),
            remedy="move it away, or go to another folder",
        )
    [made] = (Path(subjects.__file__).parent / "new").glob(f"{name}*")
    write_text(file, made.read_text(encoding="utf-8"))
    say(f"written: {name}, around {library}; a comment says where your own client goes")
    say(f"first: {building}")
    say(f"next: {named('subject.check', f'command:{run}')}")


def see_that_contract_is_kept(subject: str) -> None:
    """Raise `SettingsError` if a client breaks its contract: every scenario would fail for that."""
    from vault_harness.judge.report import one_line

    try:
        came = _rehearsed(subject, 60.0)
    except EngineError:
        return  # the run reports this too, with its own exit code
    wrong = [remark for remark in came.remarks if remark.kind == "wrong"]
    if wrong:
        anyway = named("judge", "--subject", subject, "--anyway")
        raise SettingsError(
            f"the client breaks its contract: {one_line(wrong[0].text)}",
            looked_at=f"each operation, on a Vault without a fault; "
            f"{named('subject.check', subject)} shows all of it",
            remedy=f"{wrong[0].remedy}; or judge it as it is: {anyway}",
        )
    say(f"the client keeps to its contract: {len(came.steps)} steps checked")


def _rehearsed(subject: str, start: float) -> Rehearsal:
    from vault_harness.judge.environment import open_environment
    from vault_harness.judge.rehearsal import rehearse
    from vault_harness.judge.subjects import check_subject, parse_subject

    spec = parse_subject(subject)
    check_subject(spec)
    with open_environment(settings(), spec, seed=0) as environment:
        return rehearse(environment, start=start)
