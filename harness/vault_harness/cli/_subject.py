"""Writing a subject: does it speak the protocol, before anything is broken?"""

from __future__ import annotations

from vault_harness.cli._command import Seconds, command
from vault_harness.cli._common import settings
from vault_harness.cli._console import say, table

LOG_LINES = 12
"""Of the subject's log, shown where something is wrong."""


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
        "start": "how long it may take to its hello, default 60s",
    },
)
def check(subject: str | None = None, start: Seconds = 60.0) -> None:
    """Speak the protocol with a client, and break nothing.

    It says what the client lacks, what is slow, and what it printed where it should not. Exit code
    0: it keeps to its contract; 1: it does not; 3: the harness broke down; 4: a wrong command line.
    """
    from vault_harness.report import in_short, one_line
    from vault_harness.scenario import open_environment
    from vault_harness.scenario.rehearsal import rehearse
    from vault_harness.subjects import check_subject, parse_subject

    spec = parse_subject(str(subject))
    check_subject(spec)
    with open_environment(settings(), spec, seed=0) as environment:
        came = rehearse(environment, start=start)
    say(table([(step.name, f"{step.seconds:.2f} s", step.said) for step in came.steps]))
    if came.remarks:
        say()
        say(table([(remark.kind, one_line(remark.text)) for remark in came.remarks]))
    if came.log and not came.well:
        say("\nit logged last")
        # As text: what a client logs is not to colour this terminal, or to clear it.
        say("\n".join(f"  {one_line(in_short(line.rstrip()))}" for line in came.log[-LOG_LINES:]))
    say(f"\n{'it keeps to its contract' if came.well else 'it breaks its contract'}: {spec}")
    if not came.well:
        raise SystemExit(1)
