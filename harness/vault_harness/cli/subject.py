"""Write a first subject, and check one before it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command
from vault_harness.cli.common import settings
from vault_harness.cli.printing import say, table
from vault_harness.errors import named

if TYPE_CHECKING:
    from vault_harness.judge.rehearsal import Rehearsal

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
    takes=("subject",),
    needs=("subject",),
    examples=("subject check 'command:./my-client'", "subject check python:shop.secrets:Source"),
    help={
        "subject": "the client under test: reference, python:MODULE:FACTORY, command:..., "
        "http://..., agent:FILE",
        "start": "how long its start may take, until its hello; default 60s",
    },
)
def check(subject: str | None = None, start: Seconds = 60.0) -> None:
    """Speak the protocol with a client, and break nothing.

    It reports what the client lacks, what is slow, and misplaced output. Exit code 0: it keeps its
    contract; 1: it does not; 3: the harness broke down; 4: a wrong command line.
    """
    from vault_harness.judge.report import in_short, one_line

    came = _rehearsed(str(subject), start)
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
    takes=("language",),
    needs=("language",),
    examples=("subject new python", "subject new go"),
    help={"language": "python, go, node or java"},
)
def new(language: str | None = None) -> None:
    """Write a program that puts a Vault client under test.

    It speaks the line protocol, and passes `subject check` unchanged. It has 40 lines around a
    well-known library; a comment shows the place for your own client.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.files import write_text
    from vault_harness.judge import subjects

    if language not in ADAPTERS:
        raise SettingsError(
            f"there is no adapter for {language}",
            looked_at="the command line",
            remedy=f"name {', '.join(ADAPTERS)}; "
            f"{named('docs', 'how-to/program')} has other languages",
        )
    name, library, building, run = ADAPTERS[language]
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
    from vault_harness.errors import EngineError, SettingsError
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
